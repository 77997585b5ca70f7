//! The documentation's examples are what they say they are.

use super::{lint, rules_of, score};
use crate::deploy::lint::RULES;
use crate::manifest;

const INIT: &str = include_str!("../../../../../docs/init-containers.md");
const UPGRADE: &str = include_str!("../../../../../docs/graceful-upgrade.md");

/// An example: its language, its text, and the rules it breaks.
struct Example<'a> {
    language: &'a str,
    text: String,
    rules: Vec<&'a str>,
}

/// The examples that follow a `<!-- lint: … -->`.
fn examples(page: &str) -> Vec<Example<'_>> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(rules) = line.strip_prefix("<!-- lint: ") else {
            continue;
        };
        let rules = rules
            .trim_end_matches(" -->")
            .split(", ")
            .filter(|rule| *rule != "good");
        let fence = lines.next().expect("a fence");
        let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push(Example {
            language: fence.strip_prefix("```").expect("a fence"),
            text: text.join("\n"),
            rules: rules.collect(),
        });
    }
    found
}

fn broken(example: &Example<'_>) -> Vec<String> {
    let text = example.text.as_str();
    match example.language {
        "yaml" => {
            let manifests = manifest::read("docs.yaml", text.as_bytes()).expect("a manifest");
            let warnings = manifests.iter().flat_map(|manifest| &manifest.warnings);
            warnings.map(|warning| warning.warning.rule.clone()).collect()
        }
        "sh" => rules_of(&score(&["sh", "-c", text])),
        "psql" => rules_of(&score(&["psql", "-c", text])),
        "mysql" => rules_of(&score(&["mysql", "-e", text])),
        "sqlite3" => rules_of(&score(&["sqlite3", "/data/db", text])),
        other => panic!("{other}"),
    }
}

#[test]
fn the_good_examples_are_silent_and_the_bad_ones_warn_as_they_say() {
    let all: Vec<_> = examples(INIT).into_iter().chain(examples(UPGRADE)).collect();
    assert!(all.len() >= 16, "{}", all.len());
    for example in all {
        assert_eq!(broken(&example), example.rules, "{}", example.text);
    }
}

#[test]
fn the_warning_that_is_shown_is_the_one_that_is_given() {
    let warning = &lint(&score(&["sh", "-c", "mkdir /data/cache"]))[0];
    let shown = |text: &str| INIT.contains(text);
    assert!(shown(&format!("= fix: {}\n", warning.fix)), "{}", warning.fix);
    assert!(shown(&warning.why.replace("`app`", "`state`")), "{}", warning.why);
}

#[test]
fn the_table_lists_each_rule_in_its_own_words() {
    for rule in RULES {
        let row = format!("| `{}` | {} |\n", rule.name, rule.finds);
        assert!(INIT.contains(&row), "{row}");
    }
    for rule in RULES.iter().filter(|rule| !rule.only_fails) {
        let last = INIT
            .lines()
            .rfind(|line| line.starts_with("`|| true` silences"))
            .expect("the sentence");
        assert!(last.contains(&format!("`{}`", rule.name)), "{}", rule.name);
    }
}
