use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"apiVersion: fleet/v0
kind: Deployment
metadata:
  name: web
  labels: { team: shop }
spec:
  selector:
    labels: { site: lyon }
  score:
    podman_v0:
      image: docker.io/library/nginx:1.27
      ports:
        - { host: 8080, container: 80 }
      env:
        - { name: MODE, value: "1" }
      resources: { memory: 256Mi, cpus: 0.5 }
"#;

fn errors_of(text: &str) -> String {
    read("web.yaml", text.as_bytes()).unwrap_err().to_string()
}

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn a_good_manifest_is_read() {
    let manifests = read("web.yaml", GOOD.as_bytes()).unwrap();
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].metadata.name.as_str(), "web");
    assert_eq!(manifests[0].metadata.labels["team"], "shop");
}

#[test]
fn several_documents_are_read_and_empty_ones_skipped() {
    let text = format!(
        "---\n# nothing\n---\n{GOOD}---\n{}---\n",
        with("name: web", "name: api")
    );
    let names: Vec<_> = read("all.yaml", text.as_bytes())
        .unwrap()
        .into_iter()
        .map(|m| m.metadata.name.to_string())
        .collect();
    assert_eq!(names, ["web", "api"]);
}

#[test]
fn what_is_rendered_is_read_back() {
    let manifest = read("web.yaml", GOOD.as_bytes()).unwrap().remove(0);
    let status = serde_json::json!({"running": 3});
    let text = to_yaml(&manifest.metadata, &manifest.spec, Some(status));
    insta::assert_snapshot!(text);
    let again = read("again.yaml", text.as_bytes()).unwrap().remove(0);
    assert_eq!((again.metadata, again.spec), (manifest.metadata, manifest.spec));
}

#[test]
fn an_unknown_field_is_shown_with_the_nearest_known_one() {
    insta::assert_snapshot!(errors_of(&with("image:", "imagee:")));
}

#[test]
fn a_name_of_the_platform_is_refused_at_its_line() {
    insta::assert_snapshot!(errors_of(&with("name: web", "name: agent")));
}

#[test]
fn an_unknown_field_of_the_document_is_shown() {
    insta::assert_snapshot!(errors_of(&format!("{GOOD}selector: {{}}\n")));
}

#[test]
fn a_field_in_another_spelling_finds_its_own() {
    insta::assert_snapshot!(errors_of(&with(
        "      ports:",
        "      readOnly: true\n      ports:"
    )));
}

#[test]
fn a_number_where_a_text_belongs_says_to_quote_it() {
    insta::assert_snapshot!(errors_of(&with("value: \"1\"", "value: 8080")));
}

#[test]
fn each_refused_value_is_shown_at_its_line() {
    let text = with("host: 8080", "host: 80")
        .replace("memory: 256Mi", "memory: 1Mi")
        .replace("site: lyon", "\"si te\": lyon");
    insta::assert_snapshot!(errors_of(&text));
}

#[test]
fn a_bad_image_is_shown_in_its_own_words() {
    insta::assert_snapshot!(errors_of(&with("docker.io/library/nginx:1.27", "nginx")));
}

#[test]
fn a_bad_amount_is_shown() {
    insta::assert_snapshot!(errors_of(&with("memory: 256Mi", "memory: 256M")));
}

#[test]
fn a_bad_name_is_shown() {
    insta::assert_snapshot!(errors_of(&with("name: web", "name: Web_1")));
}

#[test]
fn an_unknown_word_is_shown_with_the_known_ones() {
    insta::assert_snapshot!(errors_of(&with(
        "      ports:",
        "      restart: alway\n      ports:"
    )));
}

#[test]
fn another_kind_is_refused_before_anything_else() {
    insta::assert_snapshot!(errors_of("apiVersion: apps/v1\nkind: Deployment\nspec: 3\n"));
}

#[test]
fn a_missing_part_says_what_to_add() {
    insta::assert_snapshot!(errors_of(&with(
        "      image: docker.io/library/nginx:1.27\n",
        ""
    )));
}

#[test]
fn an_empty_selector_is_shown_at_the_selector() {
    insta::assert_snapshot!(errors_of(&with("    labels: { site: lyon }", "    labels: {}")));
}

#[test]
fn yaml_faults_are_shown_at_their_line() {
    insta::assert_snapshot!(errors_of(&with("  name: web", "  name: [web")));
}

#[test]
fn a_key_given_twice_is_refused() {
    insta::assert_snapshot!(errors_of(&with("  name: web", "  name: web\n  name: api")));
}

#[test]
fn tabs_and_bytes_that_are_no_text_are_refused() {
    insta::assert_snapshot!(errors_of("apiVersion: fleet/v0\n\tkind: Deployment\n"));
    let bytes = b"apiVersion: fleet/v0\nkind: \xff";
    insta::assert_snapshot!(read("x.yaml", bytes).unwrap_err().to_string(), @"x.yaml:2:7: the file is not UTF-8 text here");
}

#[test]
fn a_file_without_objects_says_how_to_begin() {
    insta::assert_snapshot!(errors_of("# only a comment\n"));
}

#[test]
fn every_document_with_a_fault_is_reported() {
    let bad = with("image:", "imagee:");
    let text = format!("{bad}---\n{}", with("host: 8080", "host: 80"));
    let errors = read("x.yaml", text.as_bytes()).unwrap_err();
    let lines: Vec<_> = errors.0.iter().map(|e| e.line).collect();
    assert_eq!(lines, [11, 30]);
}

#[test]
fn an_alias_may_save_typing_but_not_multiply() {
    let text = with("labels: { team: shop }", "labels: &l { team: shop }")
        .replace("labels: { site: lyon }", "labels: *l");
    assert!(read("x.yaml", text.as_bytes()).is_ok());
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let many = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{many}]\n"));
    }
    let error = read("bomb.yaml", bomb.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("not valid YAML"), "{error}");
}

#[test]
fn what_is_too_deep_or_too_large_is_refused() {
    let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(read("x.yaml", deep.as_bytes()).is_err());
    let block: String = (0..500).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(read("x.yaml", block.as_bytes()).is_err());
    let large = vec![b'#'; MAX_MANIFEST_BYTES + 1];
    assert!(
        read("x.yaml", &large)
            .unwrap_err()
            .to_string()
            .contains("at most")
    );
}

#[test]
fn the_same_name_twice_is_refused() {
    let text = format!("{GOOD}---\n{GOOD}");
    let manifests = read("x.yaml", text.as_bytes()).unwrap();
    insta::assert_snapshot!(refuse_repeated(&manifests).unwrap_err().to_string());
}

const WITH_INIT: &str = r#"apiVersion: fleet/v0
kind: Deployment
metadata: { name: web }
spec:
  selector: { all: true }
  score:
    podman_v0:
      image: docker.io/library/nginx:1.27
      lifecycle:
        stop_signal: SIGINT
        grace_period: 1m
        sigkill_fallback: false
      init_containers:
        - name: prepare
          image: docker.io/library/busybox:1.36
          args: [sh, -c, "mkdir -p /data && touch /data/initialized"]
          env:
            - { name: MODE, value: "1" }
          volumes:
            - { source: { volume: { name: state } }, path: /data }
          timeout: 2m
"#;

fn with_init(from: &str, to: &str) -> String {
    assert!(WITH_INIT.contains(from), "{from}");
    WITH_INIT.replace(from, to)
}

#[test]
fn lifecycle_and_init_containers_are_read_and_rendered() {
    let manifest = read("web.yaml", WITH_INIT.as_bytes()).unwrap().remove(0);
    let fleet_protocol::Score::PodmanV0(score) = &manifest.spec.score;
    assert_eq!(score.init_containers[0].timeout.duration().as_secs(), 120);
    assert!(!score.lifecycle().sigkill_fallback);
    let text = to_yaml(&manifest.metadata, &manifest.spec, None::<()>);
    insta::assert_snapshot!(text);
    assert_eq!(
        read("again.yaml", text.as_bytes()).unwrap()[0].spec,
        manifest.spec
    );
}

#[test]
fn each_fault_in_lifecycle_and_init_containers_is_shown_at_its_line() {
    let all: Vec<_> = [
        ("SIGINT", "SIGKILL"),
        ("grace_period: 1m", "grace_period: 0s"),
        ("grace_period: 1m", "grace_period: 1 minute"),
        ("grace_period:", "graceperiod:"),
        ("sigkill_fallback: false", "sigkill_fallback: \"no\""),
        ("- name: prepare", "- name: Prepare_1"),
        ("          image: docker.io/library/busybox:1.36\n", ""),
        ("busybox:1.36", "busybox"),
        (
            "args: [sh, -c, \"mkdir -p /data && touch /data/initialized\"]",
            "args: touch /data/initialized",
        ),
        ("[sh, -c,", "[sleep, 5,"),
        ("name: MODE", "name: MO-DE"),
        ("path: /data }", "path: data }"),
        ("timeout: 2m", "timeout: 2d"),
        ("timeout:", "time_out:"),
    ]
    .into_iter()
    .map(|(from, to)| errors_of(&with_init(from, to)))
    .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_warning_is_shown_at_its_line_however_the_script_is_written() {
    let places: Vec<_> = [
        "[sh, -c, \"cd /data && mkdir x\"]",
        "[sh, -c, 'mkdir /data/x']",
        "[mkdir, /data/x]",
        "\n            - sh\n            - -c\n            - |\n              set -e\n              mkdir /data/x",
        "\n            - sh\n            - -c\n            - |-\n\n              mkdir  /data/x",
        "\n            - sh\n            - -c\n            - >\n              mkdir /data/x;\n              true",
        "\n            - sh\n            - -c\n            - mkdir /data/x",
        "[sh, -c, \"true;\n              mkdir /data/x\"]",
    ]
    .into_iter()
    .map(|args| {
        let text = with_init("[sh, -c, \"mkdir -p /data && touch /data/initialized\"]", args);
        let manifest = read("web.yaml", text.as_bytes()).unwrap().remove(0);
        let [warning] = manifest.warnings.as_slice() else {
            panic!("{args}: {:?}", manifest.warnings);
        };
        warning.to_string()
    })
    .collect();
    insta::assert_snapshot!(places.join("\n\n"));
}

#[test]
fn each_of_two_warnings_is_shown_where_it_stands() {
    let places = |args: &str| {
        let text = with_init("[sh, -c, \"mkdir -p /data && touch /data/initialized\"]", args);
        let manifest = read("web.yaml", text.as_bytes()).unwrap().remove(0);
        let first = text.lines().position(|line| line.contains("args:")).unwrap() + 1;
        let warnings = manifest.warnings.iter();
        warnings
            .map(|warning| (warning.line - first, warning.column))
            .collect::<Vec<_>>()
    };
    // The line below has the same words.
    let below = "\n          # mkdir /data/y\n          # mkdir /data/y";
    for quoted in [
        "[sh, -c, \"set -e\\nmkdir /data/x\\nmkdir /data/y\"]",
        "[\"sh\", \"-c\", \"set -e\\nmkdir /data/x\\nmkdir /data/y\"]",
    ] {
        let shown = places(&format!("{quoted}{below}"));
        let column = |what: &str| "          args: ".len() + quoted.find(what).unwrap() + 1;
        assert_eq!(
            shown,
            [(0, column("mkdir /data/x")), (0, column("mkdir /data/y"))],
            "{quoted}"
        );
    }
    let items = "\n            - sh\n            - -c\n            - ";
    for (written, lines) in [
        (
            "|\n              set -e\n              mkdir /data/x\n              mkdir /data/y",
            [5, 6],
        ),
        (
            "|-\n\n              mkdir /data/x\n\n              mkdir /data/y",
            [5, 7],
        ),
        (
            "\"set -e;\n              mkdir /data/x;\n              mkdir /data/y\"",
            [4, 5],
        ),
        (
            ">\n              set -e;\n              mkdir /data/x;\n              mkdir /data/y",
            [5, 6],
        ),
    ] {
        let shown = places(&format!("{items}{written}"));
        let shown: Vec<_> = shown.into_iter().map(|(line, _)| line).collect();
        assert_eq!(shown, lines, "{written}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(errors) = read("x.yaml", &bytes) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(text in "([a-z]{0,3}[:\\-&*!|>\\[\\]{}\"'#,?%@ \n\t]{1,3}|<<: |- |\u{e9}\u{4e16}){0,60}") {
        if let Err(errors) = read("x.yaml", text.as_bytes()) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn a_manifest_with_a_script_with_one_slice_replaced_never_panics(
        at in 0usize..WITH_INIT.len(), len in 0usize..60, with in "(mkdir x|[|>\"'&;\n ]|\\PC){0,8}",
    ) {
        let mut bytes = WITH_INIT.as_bytes().to_vec();
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, with.into_bytes());
        for manifest in read("x.yaml", &bytes).unwrap_or_default() {
            for warning in &manifest.warnings {
                prop_assert!(warning.line >= 1 && warning.column >= 1 && !warning.to_string().is_empty());
            }
        }
    }

    #[test]
    fn a_good_manifest_with_one_slice_replaced_never_panics(
        at in 0usize..GOOD.len(), len in 0usize..40, with in "\\PC{0,12}",
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, with.into_bytes());
        if let Err(errors) = read("x.yaml", &bytes) {
            for error in &errors.0 {
                prop_assert!(error.line >= 1 && error.column >= 1);
            }
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
