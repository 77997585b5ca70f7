//! serde's messages in the words of a person who writes YAML.

use serde_json::Value;

/// A problem, what would be right, and whether the key (not the value) is what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) problem: String,
    pub(super) help: Option<String>,
    pub(super) unknown_key: Option<String>,
}

/// Explains serde's message about a value.
pub(super) fn explain(message: &str, value: &Value) -> Explained {
    unknown_field(message)
        .or_else(|| unknown_variant(message))
        .or_else(|| missing_field(message))
        .or_else(|| wrong_type(message, value))
        .or_else(|| no_variant(message, value))
        .unwrap_or_else(|| refused(message, value))
}

fn explained(problem: String, help: Option<String>) -> Option<Explained> {
    Some(Explained {
        problem,
        help,
        unknown_key: None,
    })
}

/// "unknown field `imagee`, expected one of `image`, `args`".
fn unknown_field(message: &str) -> Option<Explained> {
    let (name, known) = split_known(message.strip_prefix("unknown field `")?)?;
    Some(Explained {
        problem: "is not a field here".to_owned(),
        help: Some(suggest(&name, &known, "there are no fields here")),
        unknown_key: Some(name),
    })
}

/// "unknown variant `alway`, expected one of `always`, `on-failure`".
fn unknown_variant(message: &str) -> Option<Explained> {
    let (name, known) = split_known(message.strip_prefix("unknown variant `")?)?;
    let problem = format!("is `{name}`, which is not one of its values");
    explained(problem, Some(suggest(&name, &known, "it has no values")))
}

fn missing_field(message: &str) -> Option<Explained> {
    let name = message.strip_prefix("missing field `")?.split('`').next()?;
    let help = match name {
        "selector" => {
            "say which devices: `selector: { labels: { site: lyon } }`, or `selector: { all: true }`"
        }
        "score" => "say what runs: `score: { podman_v0: { image: registry/name:tag } }`",
        "image" => "name the image with its registry and tag: `image: docker.io/library/nginx:1.27`",
        "name" => "give it a name of a-z, 0-9 and '-'",
        _ => {
            return explained(
                format!("lacks `{name}`"),
                Some(format!("add `{name}: …` below it")),
            );
        }
    };
    explained(format!("lacks `{name}`"), Some(help.to_owned()))
}

/// "invalid type: integer `8080`, expected a string".
fn wrong_type(message: &str, value: &Value) -> Option<Explained> {
    let (_, expected) = message
        .strip_prefix("invalid type: ")?
        .rsplit_once(", expected ")?;
    let expected = in_yaml_words(expected);
    let help = match value {
        Value::Number(_) | Value::Bool(_) if expected == "a text" => {
            Some(format!("write it in quotes: \"{value}\""))
        }
        Value::String(text) if expected == "true or false" => Some(format!(
            "write true or false without quotes, not {}",
            serde_json::Value::from(text.as_str())
        )),
        Value::Null => Some("give a value, or remove the line".to_owned()),
        Value::String(text) if expected == "a list" && !text.contains('\n') => {
            Some(format!("write it as a list: [{}]", text.replace(' ', ", ")))
        }
        Value::String(_) if expected == "a list" => {
            Some("write it as a list, such as `[sh, -c, \"…\"]`, or with `- ` before each entry".to_owned())
        }
        _ => None,
    };
    explained(format!("is {}, where {expected} belongs", kind_of(value)), help)
}

/// An untagged enum that nothing fits: the amounts of the score.
fn no_variant(message: &str, value: &Value) -> Option<Explained> {
    message.strip_prefix("data did not match any variant")?;
    let problem = format!("is {}, where an amount belongs", kind_of(value));
    explained(
        problem,
        Some("write it as a number or a text, such as 256Mi, 0.5 or 30s".to_owned()),
    )
}

/// Any other refusal, in the type's own words: `"web:1" names no registry: …`.
fn refused(message: &str, value: &Value) -> Explained {
    let message = match value {
        Value::String(text) => message.strip_prefix(&format!("{text:?} ")).unwrap_or(message),
        _ => message,
    };
    Explained {
        problem: message.to_owned(),
        help: None,
        unknown_key: None,
    }
}

/// Splits "name`, expected one of `a`, `b`" into the name and the known ones.
fn split_known(rest: &str) -> Option<(String, Vec<String>)> {
    let (name, expected) = rest.split_once("`, ")?;
    let known = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    Some((name.to_owned(), known))
}

fn suggest(name: &str, known: &[String], none: &str) -> String {
    if known.is_empty() {
        return none.to_owned();
    }
    let all = known.join(", ");
    match nearest(name, known) {
        Some(best) => format!("did you mean `{best}`? Known here: {all}"),
        None => format!("known here: {all}"),
    }
}

/// The known name that is closest to a wrong one, if any is close. Case and `_`, `-` do not count, so
/// that `readOnly` finds `read_only`.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let wanted = plain(name);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&wanted, &plain(known)), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, best)| *distance <= (best.len() / 3).max(1))
        .map(|(_, best)| best.as_str())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn in_yaml_words(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" | "path string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a map",
        "u8" | "u16" | "u32" | "u64" => "a whole number",
        "string or map" => "a word or a map",
        other if other.starts_with("struct ") || other.starts_with("internally tagged") => "a map",
        other => other,
    }
}
