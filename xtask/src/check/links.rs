//! Links in Markdown files that lead to a file of the checkout. Links to other places are not followed: CI has no network.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let mut broken = Vec::new();
    let files = workspace.files()?;
    let pages = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    for page in pages {
        let path = workspace.root().join(page);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", page.display()))?;
        let folder = path.parent().unwrap_or(workspace.root());
        let lost = targets(&text)
            .into_iter()
            .filter(|(_, target)| !leads_somewhere(workspace.root(), folder, target));
        broken.extend(lost.map(|(line, target)| format!("{}:{line}: {target}", page.display())));
    }
    if broken.is_empty() {
        Ok(())
    } else {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "))
    }
}

fn leads_somewhere(root: &Path, folder: &Path, target: &str) -> bool {
    let path = target.split('#').next().unwrap_or_default();
    if path.is_empty() {
        return true;
    }
    match folder.join(path).canonicalize() {
        // What lies outside the checkout is not there in a fresh clone.
        Ok(found) => found.starts_with(root),
        Err(_) => false,
    }
}

/// The relative targets of inline links and link definitions, with their line numbers; code is left out.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let line_without_code = strip_code(line);
            let inline = line_without_code
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            let defined = line_without_code
                .strip_prefix('[')
                .and_then(|rest| rest.split_once("]: "))
                .map(|(_, rest)| rest);
            let all = inline
                .chain(defined)
                .filter_map(|target| target.split_whitespace().next());
            let relative = all.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
            found.extend(relative.map(|target| (index + 1, target.to_owned())));
        }
    }
    found
}

fn strip_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found_with_their_lines_and_code_is_left_alone() {
        let text = "[a](docs/A.md) and [b](../B.md#part)\n`[c](no.md)`\n```\n[d](no.md)\n```\n[e]: E.md\n\
                    [f](https://example.com/x) [g](mailto:x@example.com)\n";
        let expected = [(1, "docs/A.md"), (1, "../B.md#part"), (6, "E.md")];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(line, target)| (line, target.to_owned()))
            .collect();
        assert_eq!(targets(text), expected);
    }

    #[test]
    fn a_link_out_of_the_checkout_leads_nowhere() {
        let root = tempfile::tempdir().expect("temporary folder");
        let outer = root.path().canonicalize().expect("it exists");
        let inner = outer.join("checkout");
        fs::create_dir_all(inner.join("docs")).expect("created");
        assert!(leads_somewhere(&inner, &inner, "docs#part"));
        assert!(leads_somewhere(&inner, &inner, "#part"));
        assert!(!leads_somewhere(&inner, &inner, ".."));
        assert!(!leads_somewhere(&inner, &inner, "absent.md"));
    }
}
