//! `apply`: everything is read and checked before anything is sent.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::answers::Answers;
use super::args::ApplyArgs;
use super::client::encoded;
use super::error::{CtlError, Exit};
use super::table::plural;
use super::terminal::safe;
use super::{Context, lint};
use crate::api::types::{ChangeAnswer, PutDeployment};
use crate::deploy::lint::Warning;
use crate::manifest::{self, MAX_MANIFEST_BYTES, Manifest, ManifestErrors};

pub(super) fn run(args: &ApplyArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let manifests = read_all(&args.files)?;
    lint::tell(&manifests, context.terminal)?;
    lint::refuse(args.strict, lint::warnings(&manifests).count() as u64)?;
    let mut answers = Answers::new(args.output);
    let failed = put_all(&manifests, args, context, &mut answers);
    // A reader that went away does not make a failure one that ended well.
    let told = answers.end(context.terminal);
    let failed = failed?;
    match failed.as_slice() {
        [] => told,
        [first, ..] => {
            let what = format!(
                "{} of {} not applied",
                failed.len(),
                plural(manifests.len() as u64, "object")
            );
            Err(CtlError::new(*first, what, "see above; the others are done")
                .next("correct them and apply again: what is unchanged stays as it is"))
        }
    }
}

/// Sends all of them; how those ended that were refused.
///
/// # Errors
/// The server is away: the others would only wait for it too.
fn put_all(
    manifests: &[Manifest],
    args: &ApplyArgs,
    context: &mut Context<'_>,
    answers: &mut Answers,
) -> Result<Vec<Exit>, CtlError> {
    let mut failed = Vec::new();
    for manifest in manifests {
        match put(manifest, args, context) {
            Ok(answer) => {
                // Before the line of the next object, and not lost where the list comes at the end.
                let others = others(manifest, &answer);
                answers.take(answer, context.terminal)?;
                others.iter().try_for_each(|text| context.terminal.note(text))?;
            }
            Err(error) if error.exit() == Exit::Unreachable => return Err(error),
            Err(error) => {
                context.terminal.note(&error.to_string())?;
                failed.push(error.exit());
            }
        }
    }
    Ok(failed)
}

fn put(manifest: &Manifest, args: &ApplyArgs, context: &Context<'_>) -> Result<ChangeAnswer, CtlError> {
    let name = &manifest.metadata.name;
    let body = PutDeployment {
        labels: manifest.metadata.labels.clone(),
        spec: manifest.spec.clone(),
    };
    let query = match (args.dry_run, args.strict) {
        (false, false) => "",
        (true, false) => "?dry_run=true",
        (false, true) => "?strict=true",
        (true, true) => "?dry_run=true&strict=true",
    };
    let object = format!(
        "deployment/{name} ({}:{})",
        manifest.origin.file, manifest.origin.line
    );
    context.client.put(
        &object,
        &format!("/deployments/{}{query}", encoded(name.as_str())),
        &body,
    )
}

/// Warnings of a server whose lint knows more than this one.
fn others(manifest: &Manifest, answer: &ChangeAnswer) -> Vec<String> {
    let told = |warning: &&Warning| {
        manifest.warnings.iter().any(|own| {
            own.warning.rule == warning.rule
                && own.warning.line == warning.line
                && own.warning.path == warning.path
        })
    };
    let text = |warning: &Warning| {
        let Warning {
            path,
            rule,
            found,
            why,
            fix,
            ..
        } = warning;
        safe(&format!(
            "  warning[{rule}] of the server: {path}: {found}: {why}. {fix}"
        ))
    };
    answer
        .warnings
        .iter()
        .filter(|warning| !told(warning))
        .map(text)
        .collect()
}

/// Reads every manifest of every file; all that is wrong in any of them is one error.
pub(super) fn read_all(files: &[PathBuf]) -> Result<Vec<Manifest>, CtlError> {
    let mut manifests = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        for (name, bytes) in contents(file)? {
            match manifest::read(&name, &bytes) {
                Ok(found) => manifests.extend(found),
                Err(ManifestErrors(errors)) => wrong.extend(errors),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(CtlError::Manifests(ManifestErrors(wrong)));
    }
    manifest::refuse_repeated(&manifests).map_err(CtlError::Manifests)?;
    Ok(manifests)
}

type Named = (String, Vec<u8>);

fn contents(file: &Path) -> Result<Vec<Named>, CtlError> {
    if file == Path::new("-") {
        return Ok(vec![(
            "standard input".to_owned(),
            limited(std::io::stdin(), file)?,
        )]);
    }
    if !file.is_dir() {
        return Ok(vec![(file.display().to_string(), open(file)?)]);
    }
    let unreadable = |error: std::io::Error| failed_to_read(file, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(file).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && extension.is_some_and(|e| ["yaml", "yml", "json"].contains(&e)) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(CtlError::new(
            Exit::Usage,
            format!("{} holds no manifest", file.display()),
            "no file there ends in .yaml, .yml or .json",
        ));
    }
    found
        .into_iter()
        .map(|path| Ok((path.display().to_string(), open(&path)?)))
        .collect()
}

fn open(path: &Path) -> Result<Vec<u8>, CtlError> {
    let file = std::fs::File::open(path).map_err(|error| failed_to_read(path, &error))?;
    limited(file, path)
}

/// One byte more than is allowed, so that `manifest::read` says what the limit is.
fn limited(source: impl Read, path: &Path) -> Result<Vec<u8>, CtlError> {
    let mut bytes = Vec::new();
    let most = MAX_MANIFEST_BYTES as u64 + 1;
    source
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| failed_to_read(path, &error))?;
    Ok(bytes)
}

fn failed_to_read(path: &Path, error: &std::io::Error) -> CtlError {
    CtlError::new(
        Exit::Usage,
        format!("{} cannot be read", path.display()),
        error.to_string(),
    )
}
