//! What was found wrong with a score so far, and the rules for single values.

use crate::score::problem::FieldError;

/// Longest argument, variable or path, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<FieldError>);

impl Problems {
    pub(super) fn add(&mut self, path: impl AsRef<str>, problem: impl Into<String>) {
        self.0.push(FieldError::new(path.as_ref(), problem));
    }

    pub(super) fn unless(&mut self, good: bool, path: &str, problem: impl Into<String>) {
        if !good {
            self.add(path, problem);
        }
    }

    pub(super) fn text(&mut self, path: &str, text: &str) {
        self.unless(
            text.len() <= MAX_TEXT,
            path,
            format!("is {} bytes: {MAX_TEXT} at most", text.len()),
        );
        self.unless(!text.contains('\0'), path, "has a NUL character");
    }

    pub(super) fn absolute(&mut self, path: &str, value: &str) {
        self.text(path, value);
        let walked = value.starts_with('/') && !value.split('/').any(|part| part == ".." || part == ".");
        self.unless(walked, path, "is not an absolute path without `.` and `..`");
        let plain = !value.chars().any(|c| c.is_control() || c == ':' || c == ',');
        self.unless(
            plain,
            path,
            "has a ':', a ',' or a control character, which podman's mounts cannot express",
        );
    }
}

pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 256
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn is_user(user: &str) -> bool {
    let word = |text: &str| {
        (1..=32).contains(&text.len())
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match user.split_once(':') {
        Some((user, group)) => word(user) && word(group),
        None => word(user),
    }
}
