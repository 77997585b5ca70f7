//! Text in a Quadlet file.
//!
//! A value is read twice. First by Quadlet (podman's `pkg/systemd/parser`): `Exec`, `Environment`, `Label`
//! are split at white space with quotes and C escapes; `HealthCmd`, `Volume` and `PublishPort` are taken raw. Then
//! Quadlet writes each word, quoted where needed, into `ExecStart`, where systemd expands `%` and `$`. So
//! `%` and `$` are doubled everywhere, and words are quoted where Quadlet splits.

use super::QuadletError;

fn refuse<T>(field: &str, problem: &'static str) -> Result<T, QuadletError> {
    Err(QuadletError::Inexpressible {
        field: field.to_owned(),
        problem,
    })
}

/// A word where Quadlet splits: quoted, with C escapes.
pub(super) fn word(field: &str, text: &str) -> Result<String, QuadletError> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '%' => quoted.push_str("%%"),
            '$' => quoted.push_str("$$"),
            '\0' => return refuse(field, "has a NUL character"),
            // Quadlet writes it as a byte that is no UTF-8, and systemd then refuses the whole line.
            '\u{80}' => return refuse(field, "has the control character U+0080"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// An argument of the container: a word that `ExecStart` can hold by itself.
pub(super) fn argument(field: &str, text: &str) -> Result<String, QuadletError> {
    match text {
        // Quadlet ends the list at an empty word and drops the rest.
        "" => refuse(
            field,
            "is empty, which Quadlet cannot express: leave it out, or run it through a shell",
        ),
        // systemd would take it for the end of the command.
        ";" => refuse(
            field,
            "is a single ';', which systemd cannot express: run it through a shell",
        ),
        _ => word(field, text),
    }
}

/// A value that Quadlet takes raw, to the end of the line.
pub(super) fn raw(field: &str, text: &str) -> Result<String, QuadletError> {
    if text.chars().any(char::is_control) {
        return refuse(field, "has a control character");
    }
    if text.ends_with('\\') && !field.ends_with("path") {
        return refuse(field, "ends in a backslash");
    }
    Ok(text.replace('%', "%%").replace('$', "$$"))
}
