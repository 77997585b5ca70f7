//! Staying: waits for word of a change, and survives a server that goes and comes.

use std::sync::mpsc;
use std::time::Duration;

use super::Context;
use super::error::{CtlError, Exit};

/// Shortest time between two looks: a fleet of 10,000 changes all the time.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait before another try.
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// Looks, and looks again on each word of a change whose name is one of `names`; for ever, until `look` fails for another reason
/// than a server that is away. An empty `names` means any change.
pub(super) fn follow(
    context: &mut Context<'_>,
    names: &[&str],
    mut look: impl FnMut(&mut Context<'_>) -> Result<(), CtlError>,
) -> Result<(), CtlError> {
    let mut retry = PAUSE;
    let mut begun = false;
    loop {
        let outcome = look(context).and_then(|()| {
            begun = true;
            retry = PAUSE;
            until_lost(context, names, &mut look)
        });
        match outcome {
            Err(error) if error.is_temporary() && begun => {
                let what = if error.exit() == Exit::Unreachable {
                    "connection lost".to_owned()
                } else {
                    error.what()
                };
                let wait = format!("fleetctl: {what}, trying again in {} s", retry.as_secs());
                context.terminal.note(&wait)?;
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        std::thread::sleep(retry);
        retry = (retry * 2).min(LONGEST_RETRY);
    }
}

/// Follows one stream to its end. A thread reads on while we look, so that the server never waits for us and what piles up is one look.
fn until_lost(
    context: &mut Context<'_>,
    names: &[&str],
    look: &mut impl FnMut(&mut Context<'_>) -> Result<(), CtlError>,
) -> Result<(), CtlError> {
    let lines = context.client.lines("/watch")?;
    let (words, changes) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Some(name) = line.strip_prefix("event:") else {
                continue;
            };
            if words.send(name.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    // Everything before the end of the snapshot is what one look sees.
    let mut live = false;
    while let Ok(first) = changes.recv() {
        let mut due = false;
        for name in std::iter::once(first).chain(changes.try_iter()) {
            let ended = name == "snapshot-end";
            due |= ended || live && (names.is_empty() || names.contains(&name.as_str()));
            live |= ended;
        }
        if due {
            look(context)?;
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}
