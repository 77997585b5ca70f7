//! The text is read back by a model of its two readers: Quadlet's splitter (podman 5.4,
//! `pkg/systemd/parser`), then systemd's expansion of `%%` and `$$`.

use fleet_protocol::score::PodmanV0Score;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn name(text: &str) -> DeploymentName {
    DeploymentName::new(text).unwrap()
}

fn score(value: Value) -> PodmanV0Score {
    serde_json::from_value(value).unwrap()
}

fn text(value: Value) -> Result<String, QuadletError> {
    render(&name("web"), &score(value), &Digests::new()).map(|rendered| rendered.main.text)
}

/// Values of a key, in order.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

/// What systemd makes of `%` and `$`; `None` when it would expand something.
fn expanded(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = word.chars();
    while let Some(character) = rest.next() {
        if matches!(character, '%' | '$') && rest.next() != Some(character) {
            return None;
        }
        out.push(character);
    }
    Some(out)
}

/// Quadlet's splitter, with quotes and C escapes. Ends at an empty word, as it does.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| " \t\n\r".contains(*c)).is_some() {}
        let (mut word, mut quote) = (String::new(), None);
        while let Some(character) = rest.next() {
            match character {
                '\\' => word.push(unescaped(&mut rest)),
                c if quote == Some(c) => quote = None,
                '"' | '\'' if quote.is_none() => quote = Some(character),
                c if quote.is_none() && " \t\n\r".contains(c) => break,
                c => word.push(c),
            }
        }
        assert_eq!(quote, None, "unbalanced: {line}");
        if word.is_empty() {
            return words;
        }
        words.push(word);
    }
}

fn unescaped(rest: &mut impl Iterator<Item = char>) -> char {
    match rest.next().expect("an escape is never the end") {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'x' => {
            let hex: String = rest.take(2).collect();
            char::from(u8::from_str_radix(&hex, 16).unwrap())
        }
        c @ ('"' | '\\') => c,
        other => panic!("escape {other:?} is not among those that are written"),
    }
}

fn read_back(words: Vec<String>) -> Vec<String> {
    words
        .iter()
        .map(|word| expanded(word).expect("nothing is left for systemd to expand"))
        .collect()
}

#[test]
fn the_least_score() {
    insta::assert_snapshot!(text(json!({"image": "docker.io/library/nginx:1.27"})).unwrap());
}

#[test]
fn a_score_with_everything() {
    let score = score(json!({
        "image": "10.0.2.100:5000/web:1",
        "args": ["serve", "--greeting=100% of \"it\"", "$HOME", "back\\slash", "two\nlines"],
        "env": [{"name": "EMPTY", "value": ""}, {"name": "MOTD", "value": "a 'b' \"c\" %n $x\n"}],
        "ports": [
            {"host": 8080, "container": 80},
            {"host": 5353, "container": 53, "protocol": "udp", "address": "127.0.0.1"},
            {"host": 8443, "container": 443, "address": "::1"}
        ],
        "volumes": [
            {"source": {"volume": {"name": "data", "keep": true}}, "path": "/data"},
            {"source": {"host_path": {"path": "/srv/my site"}}, "path": "/site", "read_only": true}
        ],
        "resources": {"memory": "64Mi", "cpus": "0.5", "pids": 50},
        "restart": "on-failure",
        "user": "1000:1000",
        "read_only": true,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "health": {"command": ["curl", "-f", "http://localhost/?a=$b%20"], "interval": "5s", "start_period": "2m"},
        "labels": {"team": "edge & co"}
    }));
    let digest = Digest::parse(SHA).unwrap();
    let digests = Digests::from([(score.image.to_string(), digest)]);
    let rendered = render(&name("web"), &score, &digests).unwrap();
    assert_eq!(
        (rendered.main.file.as_str(), rendered.main.unit.as_str()),
        ("fleet-web.container", "fleet-web.service")
    );
    assert_eq!(kept_volumes(&score), ["data".to_owned()].into());
    insta::assert_snapshot!(rendered.main.text);
}

#[test]
fn a_job_that_runs_once_without_a_network() {
    insta::assert_snapshot!(
        text(json!({"image": "a.b/c:1", "restart": "never", "network": "none", "health": {"command": ["it's"]}}))
            .unwrap()
    );
}

/// The files of a score with init containers, each after its name.
fn all_files(value: Value, digests: &Digests) -> String {
    let rendered = render(&name("web"), &score(value), digests).unwrap();
    let parts = rendered
        .files()
        .map(|part| format!("===== {} =====\n{}", part.file, part.text));
    parts.collect::<Vec<_>>().join("\n")
}

fn with_inits() -> Value {
    json!({
        "image": "10.0.2.100:5000/web:1",
        "volumes": [{"source": {"volume": {"name": "data"}}, "path": "/data", "read_only": true}],
        "lifecycle": {"stop_signal": "SIGUSR1", "grace_period": "1500ms", "sigkill_fallback": false},
        "network": "host",
        "init_containers": [
            {
                "name": "prepare", "image": "10.0.2.100:5000/tools:1", "args": ["mkdir", "-p", "/data/a b", "100%"],
                "env": [{"name": "A", "value": "$b"}], "timeout": "30s",
                "volumes": [{"source": {"volume": {"name": "data"}}, "path": "/data"}]
            },
            {"name": "migrate", "image": "10.0.2.100:5000/web:1"},
            {"name": "warm-up", "image": "10.0.2.100:5000/tools:1"}
        ]
    })
}

#[test]
fn init_containers_are_units_of_their_own_before_the_main_one() {
    let digest = Digest::parse(SHA).unwrap();
    let digests = Digests::from([("10.0.2.100:5000/tools:1".to_owned(), digest)]);
    insta::assert_snapshot!(all_files(with_inits(), &digests));
    let rendered = render(&name("web"), &score(with_inits()), &digests).unwrap();
    let units: Vec<String> = rendered.init_units().iter().map(ToString::to_string).collect();
    assert_eq!(
        units,
        [
            "fleet-web.init-prepare.service",
            "fleet-web.init-migrate.service",
            "fleet-web.init-warm-up.service"
        ]
    );
    assert_eq!(rendered.inits[0].timeout.as_secs(), 30);
}

#[test]
fn the_time_to_start_covers_every_init_container_and_the_time_to_stop_the_grace_period() {
    let rendered = render(&name("web"), &score(with_inits()), &Digests::new()).unwrap();
    assert_eq!(rendered.start_within.as_secs(), 120 + (30 + 60) + 2 * (300 + 60));
    assert_eq!(values(&rendered.main.text, "TimeoutStartSec"), ["120"]);
    // Half a second of grace is not lost.
    assert_eq!(values(&rendered.main.text, "StopTimeout"), ["2"]);
    assert_eq!(values(&rendered.main.text, "TimeoutStopSec"), ["17"]);
    assert_eq!(rendered.stop_within.as_millis(), 16_500);
}

#[test]
fn the_least_score_has_the_usual_patience() {
    let text = text(json!({"image": "a.b/c:1"})).unwrap();
    // The image's own: a database may have one of its own for a reason.
    assert!(values(&text, "StopSignal").is_empty());
    assert_eq!(values(&text, "StopTimeout"), ["30"]);
    assert_eq!(values(&text, "TimeoutStopSec"), ["45"]);
}

#[test]
fn what_an_init_container_cannot_say_is_refused_with_its_field() {
    let init = |part: Value| {
        let mut init = json!({"name": "b", "image": "a.b/c:1"});
        init.as_object_mut()
            .unwrap()
            .extend(part.as_object().unwrap().clone());
        json!({"image": "a.b/c:1", "init_containers": [{"name": "a", "image": "a.b/c:1"}, init]})
    };
    let cases = [
        (json!({"args": ["x", ""]}), "init_containers[1].args[1]"),
        (
            json!({"env": [{"name": "A", "value": "\u{80}"}]}),
            "init_containers[1].env[0].value",
        ),
    ];
    for (part, path) in cases {
        match text(init(part)) {
            Err(QuadletError::Inexpressible { field, .. }) => assert_eq!(field, path),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn volumes_that_only_an_init_container_mounts_are_kept_as_it_says() {
    let score = score(json!({"image": "a.b/c:1", "init_containers": [{
        "name": "a", "image": "a.b/c:1",
        "volumes": [{"source": {"volume": {"name": "seed", "keep": true}}, "path": "/seed"}]
    }]}));
    assert_eq!(kept_volumes(&score), ["seed".to_owned()].into());
}

#[test]
fn what_quadlet_cannot_say_is_refused_with_its_field() {
    let cases = [
        (json!({"args": ["a", ""]}), "args[1]"),
        (json!({"args": [";"]}), "args[0]"),
        (json!({"args": ["\u{80}"]}), "args[0]"),
        (json!({"env": [{"name": "A", "value": "\u{80}"}]}), "env[0].value"),
        (
            json!({"health": {"command": ["cmd-shell", "true"]}}),
            "health.command[0]",
        ),
        (json!({"health": {"command": ["NONE"]}}), "health.command[0]"),
    ];
    for (part, path) in cases {
        let mut value = json!({"image": "a.b/c:1"});
        value
            .as_object_mut()
            .unwrap()
            .extend(part.as_object().unwrap().clone());
        match text(value) {
            Err(QuadletError::Inexpressible { field, .. }) => assert_eq!(field, path),
            other => panic!("{part}: {other:?}"),
        }
    }
    assert!(matches!(
        text(json!({"image": "a.b/c:1", "user": "a\nb"})),
        Err(QuadletError::Invalid(_))
    ));
    let agent = render(
        &name("agent"),
        &score(json!({"image": "a.b/c:1"})),
        &Digests::new(),
    );
    assert!(matches!(agent, Err(QuadletError::Name(_))));
}

#[test]
fn a_path_that_ends_in_a_backslash_does_not_take_the_next_line() {
    let mount = json!([{"source": {"host_path": {"path": "/srv/a\\"}}, "path": "/b\\"}]);
    let text = text(json!({"image": "a.b/c:1", "volumes": mount})).unwrap();
    assert_eq!(values(&text, "Volume"), ["/srv/a\\:/b\\:rw"]);
    assert!(text.lines().all(|line| !line.ends_with('\\')));
}

#[test]
fn the_time_to_start_covers_the_health_check() {
    let within = |health: Value| {
        render(
            &name("web"),
            &score(json!({"image": "a.b/c:1", "health": health})),
            &Digests::new(),
        )
        .unwrap()
        .start_within
    };
    let usual = within(json!({"command": ["a", "b"]}));
    assert_eq!(usual.as_secs(), 120 + 4 * 35);
    let long = within(json!({"command": ["a", "b"], "interval": "9999h", "retries": 4_000_000_000_u32}));
    assert_eq!(long.as_secs(), 86_400);
}

/// Texts that look for a way out.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n[Service]\nExecStart=/bin/sh".to_owned()),
        Just("\r\n".to_owned()),
        Just("\\".to_owned()),
        Just("\"".to_owned()),
        Just("'".to_owned()),
        Just("%h".to_owned()),
        Just("${PATH}".to_owned()),
        Just(" ; ".to_owned()),
        Just("\u{2028}".to_owned()),
        "[ -~]{0,8}".prop_map(|text| text),
        any::<char>()
            .prop_filter("refused elsewhere", |c| *c != '\0' && *c != '\u{80}')
            .prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Every key that is ever written.
const KEYS: &[&str] = &[
    "Description",
    "StartLimitIntervalSec",
    "PartOf",
    "Requires",
    "After",
    "StopSignal",
    "StopTimeout",
    "Type",
    "RestartMode",
    "ExecStopPost",
    "DefaultDependencies",
    "ContainerName",
    "Image",
    "Pull",
    "LogDriver",
    "Exec",
    "Environment",
    "Label",
    "Network",
    "PublishPort",
    "Volume",
    "User",
    "ReadOnly",
    "DropCapability",
    "AddCapability",
    "PidsLimit",
    "PodmanArgs",
    "HealthCmd",
    "HealthInterval",
    "HealthTimeout",
    "HealthRetries",
    "HealthStartPeriod",
    "HealthOnFailure",
    "Notify",
    "Restart",
    "RestartSec",
    "RestartSteps",
    "RestartMaxDelaySec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "WantedBy",
];

proptest! {
    #[test]
    fn no_field_can_add_a_line_or_a_section_and_each_is_read_back(
        args in proptest::collection::vec(nasty(), 0..4),
        value in nasty(),
        path in nasty(),
        label in nasty(),
        command in proptest::collection::vec(nasty(), 1..3),
        user in nasty(),
    ) {
        let score = score(json!({
            "image": "a.b/c:1",
            "args": args,
            "env": [{"name": "A", "value": value}],
            "volumes": [{"source": {"host_path": {"path": format!("/srv/{path}")}}, "path": format!("/{path}x")}],
            "labels": {"l": label},
            "health": {"command": command},
            "user": user,
            "init_containers": [{
                "name": "a", "image": "a.b/c:1", "args": args, "env": [{"name": "A", "value": value}],
            }],
        }));
        // Whatever is taken, even when other fields are refused: leave those out.
        let mut taken = score.clone();
        for problem in score.problems() {
            match problem.path.split(['[', '.']).next() {
                Some("volumes") => taken.volumes.clear(),
                Some("labels") => taken.labels.clear(),
                Some("user") => taken.user = None,
                Some("health") => taken.health = None,
                _ => prop_assert!(false, "{problem}"),
            }
        }
        let rendered = match render(&name("web"), &taken, &Digests::new()) {
            Ok(rendered) => rendered,
            Err(QuadletError::Inexpressible { field, .. }) => {
                let argument = args.iter().any(|arg| arg.is_empty() || arg == ";");
                prop_assert!(argument || field.starts_with("health"), "{}", field);
                return Ok(());
            }
            Err(error) => panic!("{error}"),
        };
        let init = &rendered.inits[0].of.text;
        let sections: Vec<&str> = init.lines().filter(|line| line.starts_with('[')).collect();
        prop_assert_eq!(sections, ["[Unit]", "[Quadlet]", "[Container]", "[Service]"]);
        for line in init.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
            prop_assert!(KEYS.contains(&line.split('=').next().unwrap_or_default()), "{}", line);
            prop_assert!(!line.ends_with('\\') && !line.contains(['\r', '\0']), "{}", line);
        }
        let exec: Vec<String> = values(init, "Exec").iter().flat_map(|line| split(line)).collect();
        prop_assert_eq!(read_back(exec), args.clone());
        let text = &rendered.main.text;
        let sections: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
        prop_assert_eq!(sections, ["[Unit]", "[Quadlet]", "[Container]", "[Service]", "[Install]"]);
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
            let key = line.split('=').next().unwrap_or_default();
            prop_assert!(!key.is_empty() && KEYS.contains(&key), "{}", line);
            prop_assert!(!line.ends_with('\\') && !line.contains(['\r', '\0']), "{}", line);
        }
        let exec: Vec<String> = values(text, "Exec").iter().flat_map(|line| split(line)).collect();
        prop_assert_eq!(read_back(exec), args);
        let environment = values(text, "Environment");
        prop_assert_eq!(environment.len(), 2);
        prop_assert_eq!(environment[0], "FLEET_DEVICE=%H");
        prop_assert_eq!(read_back(split(environment[1])), [format!("A={value}")]);
        if let Some(health) = &taken.health {
            let json = expanded(values(text, "HealthCmd")[0]).expect("nothing to expand");
            let words: Vec<String> = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(words.len(), health.command.len());
            if words.len() > 1 {
                prop_assert_eq!(&words, &health.command);
            }
        }
        if let Some(mount) = taken.volumes.first() {
            let volume = expanded(values(text, "Volume")[0]).expect("nothing to expand");
            prop_assert_eq!(volume, format!("/srv/{path}:{}:rw", mount.path));
        }
        prop_assert_eq!(&render(&name("web"), &taken, &Digests::new()).unwrap().main.text, text);
    }
}
