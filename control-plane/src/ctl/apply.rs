//! `apply`: everything is read and checked before anything is sent.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::args::ApplyArgs;
use super::client::encoded;
use super::error::{CtlError, Exit};
use super::table::plural;
use super::terminal::safe;
use super::{Context, Terminal, lint};
use crate::api::types::{ChangeAnswer, Outcome, PutDeployment};
use crate::deploy::lint::Warning;
use crate::manifest::{self, MAX_MANIFEST_BYTES, Manifest, ManifestErrors};

pub(super) fn run(args: &ApplyArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let manifests = read_all(&args.files)?;
    lint::tell(&manifests, context.terminal)?;
    lint::refuse(args.strict, lint::warnings(&manifests).count() as u64)?;
    let mut failed = Vec::new();
    for manifest in &manifests {
        match put(manifest, args, context) {
            Ok(answer) => {
                told(&answer, context.terminal)?;
                tell_others(manifest, &answer, context.terminal)?;
            }
            Err(error) => {
                if error.exit() == Exit::Unreachable {
                    return Err(error);
                }
                context.terminal.note(&error.to_string())?;
                failed.push(error.exit());
            }
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
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
fn tell_others(manifest: &Manifest, answer: &ChangeAnswer, terminal: &mut Terminal) -> Result<(), CtlError> {
    let told = |warning: &Warning| {
        manifest.warnings.iter().any(|own| {
            own.warning.rule == warning.rule
                && own.warning.line == warning.line
                && own.warning.path == warning.path
        })
    };
    for warning in answer.warnings.iter().filter(|warning| !told(warning)) {
        let Warning {
            path,
            rule,
            found,
            why,
            fix,
            ..
        } = warning;
        let text = format!("  warning[{rule}] of the server: {path}: {found}: {why}. {fix}");
        terminal.note(&safe(&text))?;
    }
    Ok(())
}

/// `deployment/web created: generation 1 on 12 devices`, in kubectl's words.
pub(super) fn told(answer: &ChangeAnswer, terminal: &mut Terminal) -> Result<(), CtlError> {
    let word = match answer.outcome {
        Outcome::Created => "created",
        Outcome::Changed => "configured",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
    };
    let on = match answer.outcome {
        Outcome::Deleted => format!("from {}", plural(answer.devices, "device")),
        _ => format!(
            "generation {} on {}",
            answer.generation,
            plural(answer.devices, "device")
        ),
    };
    let dry = if answer.dry_run { " (dry run)" } else { "" };
    terminal.line(&format!("deployment/{} {word}{dry}: {on}", answer.name))?;
    if answer.devices == 0 && answer.outcome != Outcome::Deleted {
        terminal.note("  no device matches its selector now: see `fleetctl get devices -o wide`")?;
    }
    Ok(())
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
