//! `events`: the history, oldest first so that the newest stands at the prompt.

use chrono::{DateTime, Utc};

use super::args::{EventsArgs, Format};
use super::client::encoded;
use super::error::{CtlError, Exit};
use super::stream::follow;
use super::table::{plain, render};
use super::terminal::safe;
use super::{Context, json};
use crate::api::types::{EventItem, EventList};
use crate::manifest;

/// Events of one page while following; the most that the server gives.
const PAGE: usize = 1_000;

pub(super) fn run(args: &EventsArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    if !args.watch {
        let list = fetch(args, context, None)?;
        if !list.items.is_empty() {
            print(args, &list.items, context)?;
        }
        return match &list.detail {
            Some(why) => Err(
                CtlError::new(Exit::Recovering, "events: the history may lack some", safe(why))
                    .next("try again in a few seconds, or stay with --watch"),
            ),
            None if list.items.is_empty() => context.terminal.note("Nothing has happened yet."),
            None => Ok(()),
        };
    }
    let mut place: Option<Place> = None;
    follow(context, &[], |context| look(args, &mut place, context))
}

/// How far the history was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    stream: Option<DateTime<Utc>>,
    last: u64,
}

impl Place {
    /// Where to go on; `None` when this is another history than before, which is then told from its beginning.
    fn after(self, list: &EventList) -> Option<u64> {
        (self.stream == list.stream_created && list.newest >= self.last).then_some(self.last)
    }
}

/// Prints what came since the last look, page by page.
fn look(args: &EventsArgs, place: &mut Option<Place>, context: &mut Context<'_>) -> Result<(), CtlError> {
    loop {
        let list = fetch(args, context, place.map(|place| place.last))?;
        if list.detail.is_some() {
            // The tail is being read anew: what is there now says nothing about what is gone. Word comes when it is whole.
            return incomplete(&list, context);
        }
        if place.is_some_and(|place| place.after(&list).is_none()) {
            context
                .terminal
                .note("fleetctl: the history begins anew: the store is another one")?;
            *place = Some(Place {
                stream: list.stream_created,
                last: 0,
            });
            continue;
        }
        lines(args, &list.items, context)?;
        let full = place.is_some() && list.items.len() == PAGE;
        let newest = list.items.last().map(|item| item.sequence).filter(|_| full);
        *place = Some(Place {
            stream: list.stream_created,
            last: newest.unwrap_or(list.newest),
        });
        if !full {
            return Ok(());
        }
    }
}

fn incomplete(list: &EventList, context: &mut Context<'_>) -> Result<(), CtlError> {
    match &list.detail {
        Some(detail) => context.terminal.note(&format!("fleetctl: {}", safe(detail))),
        None => Ok(()),
    }
}

/// Oldest first: the newest ones, or the page after a sequence.
fn fetch(args: &EventsArgs, context: &Context<'_>, after: Option<u64>) -> Result<EventList, CtlError> {
    let about = args
        .about
        .as_ref()
        .map_or_else(String::new, |about| format!("&subject={}", encoded(about)));
    let which = after.map_or_else(
        || format!("limit={}", args.limit),
        |after| format!("limit={PAGE}&after={after}"),
    );
    let mut list: EventList = context.client.get("events", &format!("/events?{which}{about}"))?;
    list.items.reverse();
    Ok(list)
}

fn row(item: &EventItem) -> [String; 5] {
    let event = &item.event;
    let at = item.stored_at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    [
        at,
        event.kind.clone(),
        event.subject.clone(),
        event.actor.clone(),
        event.detail.clone(),
    ]
}

fn print(args: &EventsArgs, items: &[EventItem], context: &mut Context<'_>) -> Result<(), CtlError> {
    let text = match args.output {
        Format::Json => json::pretty(items) + "\n",
        Format::Yaml => manifest::render(&items),
        Format::Name => items
            .iter()
            .map(|item| format!("{}\n", safe(&item.event.subject)))
            .collect(),
        Format::Table | Format::Wide => {
            let rows: Vec<_> = items
                .iter()
                .map(|item| row(item).iter().map(plain).collect())
                .collect();
            render(
                context.terminal,
                &["AT", "WHAT", "TO WHAT", "WHO", "DETAIL"],
                &rows,
            )
        }
    };
    context.terminal.print(&text)
}

fn lines(args: &EventsArgs, items: &[EventItem], context: &mut Context<'_>) -> Result<(), CtlError> {
    for item in items {
        let text = match args.output {
            Format::Json => json::line(item),
            Format::Yaml => format!("---\n{}", manifest::render(item).trim_end()),
            Format::Name => safe(&item.event.subject),
            Format::Table | Format::Wide => safe(&row(item).join("  ")),
        };
        context.terminal.line(&text)?;
    }
    Ok(())
}
