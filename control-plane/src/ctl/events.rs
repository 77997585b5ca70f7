//! `events`: the history, oldest first so that the newest stands at the prompt.

use super::Context;
use super::args::{EventsArgs, Format};
use super::client::encoded;
use super::error::CtlError;
use super::stream::follow;
use super::table::{plain, render};
use super::terminal::safe;
use crate::api::types::{EventItem, EventList};
use crate::manifest;

pub(super) fn run(args: &EventsArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    if !args.watch {
        let items = fetch(args, context)?;
        if items.is_empty() {
            return context.terminal.note("Nothing has happened yet.");
        }
        return print(args, &items, context);
    }
    let mut last = 0;
    follow(context, &[], |context| {
        let items: Vec<EventItem> = fetch(args, context)?
            .into_iter()
            .filter(|item| item.sequence > last)
            .collect();
        last = items.iter().map(|item| item.sequence).max().unwrap_or(last);
        lines(args, &items, context)
    })
}

fn fetch(args: &EventsArgs, context: &Context<'_>) -> Result<Vec<EventItem>, CtlError> {
    let about = args
        .about
        .as_ref()
        .map_or_else(String::new, |about| format!("&subject={}", encoded(about)));
    let mut list: EventList = context
        .client
        .get("events", &format!("/events?limit={}{about}", args.limit))?;
    list.items.reverse();
    Ok(list.items)
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
        Format::Json => serde_json::to_string_pretty(items).expect("events have string keys only") + "\n",
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
            Format::Json => serde_json::to_string(item).expect("events have string keys only"),
            Format::Yaml => format!("---\n{}", manifest::render(item).trim_end()),
            Format::Name => safe(&item.event.subject),
            Format::Table | Format::Wide => safe(&row(item).join("  ")),
        };
        context.terminal.line(&text)?;
    }
    Ok(())
}
