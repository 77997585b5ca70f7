//! `delete`.

use super::Context;
use super::answers::Answers;
use super::apply::read_all;
use super::args::DeleteArgs;
use super::client::encoded;
use super::error::{CtlError, Exit};

pub(super) fn run(args: &DeleteArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let mut names = args.names.clone();
    names.extend(
        read_all(&args.files)?
            .into_iter()
            .map(|manifest| manifest.metadata.name.to_string()),
    );
    let mut answers = Answers::new(args.output);
    let missing = delete_all(&names, args, context, &mut answers);
    // A reader that went away does not make a failure one that ended well.
    let told = answers.end(context.terminal);
    missing?.map_or(told, |error| Err(error.next("see `fleetctl get deployments`")))
}

/// Deletes all of them; the first one that is not there, unless that is no error.
fn delete_all(
    names: &[String],
    args: &DeleteArgs,
    context: &mut Context<'_>,
    answers: &mut Answers,
) -> Result<Option<CtlError>, CtlError> {
    let query = if args.dry_run { "?dry_run=true" } else { "" };
    let mut missing = None;
    for name in names {
        let object = format!("deployment/{name}");
        match context
            .client
            .delete(&object, &format!("/deployments/{}{query}", encoded(name)))
        {
            Ok(answer) => answers.take(answer, context.terminal)?,
            Err(error) if error.exit() == Exit::NotFound && args.ignore_not_found => {
                let text = format!("{object} not found: nothing to delete");
                answers.say(&text, context.terminal)?;
            }
            // The others still go: the end state is what was asked for.
            Err(error) if error.exit() == Exit::NotFound && missing.is_none() => missing = Some(error),
            Err(error) if error.exit() == Exit::NotFound => context.terminal.note(&error.to_string())?,
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}
