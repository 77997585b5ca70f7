//! `delete`.

use super::Context;
use super::apply::{read_all, told};
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
    let query = if args.dry_run { "?dry_run=true" } else { "" };
    let mut missing = None;
    for name in names {
        let object = format!("deployment/{name}");
        match context
            .client
            .delete(&object, &format!("/deployments/{}{query}", encoded(&name)))
        {
            Ok(answer) => told(&answer, context.terminal)?,
            Err(error) if error.exit() == Exit::NotFound && args.ignore_not_found => {
                context
                    .terminal
                    .line(&format!("{object} not found: nothing to delete"))?;
            }
            // The others still go: the end state is what was asked for.
            Err(error) if error.exit() == Exit::NotFound && missing.is_none() => missing = Some(error),
            Err(error) if error.exit() == Exit::NotFound => context.terminal.note(&error.to_string())?,
            Err(error) => return Err(error),
        }
    }
    missing.map_or(Ok(()), |error| Err(error.next("see `fleetctl get deployments`")))
}
