//! Icons, drawn in place: 16 × 16, in the colour of the text. A state never shows by its colour alone.

use maud::{Markup, PreEscaped, html};

use crate::fleet::view::{AttentionKind, DeviceState, LinkState, PairState};

/// What an icon says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Icon {
    Failed,
    Warning,
    Unreadable,
    Question,
    Clock,
    Dotted,
    Down,
    Swap,
    Start,
    Minus,
    Check,
    Flag,
    Offline,
    Ring,
    Chevron,
}

/// How urgent a state is; it chooses the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Bad,
    Warn,
    Busy,
    Good,
    Idle,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Good => "good",
            Self::Idle => "idle",
        }
    }
}

const CIRCLE: &str = "<circle cx=\"8\" cy=\"8\" r=\"6.25\"/>";

impl Icon {
    fn shapes(self) -> (&'static str, &'static str) {
        match self {
            Self::Failed => (CIRCLE, "M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8"),
            Self::Warning => ("", "M8 1.9L14.6 13.6H1.4zM8 6.3v3.4M8 11.5v.3"),
            Self::Unreadable => (
                "",
                "M3.5 1.75h6l3 3v9.5h-9zM6.2 6.4q.2-1.3 1.8-1.3t1.8 1.3q0 1-1 1.5t-.8 1.3M8 11.4v.3",
            ),
            Self::Question => (
                CIRCLE,
                "M6.2 6.4q.2-1.6 1.8-1.6t1.8 1.5q0 1-1 1.6T8 9.2M8 11.1v.3",
            ),
            Self::Clock => (CIRCLE, "M8 4.4V8l2.5 1.7"),
            Self::Dotted => (
                "<circle cx=\"8\" cy=\"8\" r=\"6.25\" stroke-dasharray=\"2.2 2.2\"/>",
                "",
            ),
            Self::Down => ("", "M8 1.8v8M4.8 6.8L8 10l3.2-3.2M2 12.2v2h12v-2"),
            Self::Swap => (
                "",
                "M2 5.2h10.5M9.8 2.5l2.7 2.7-2.7 2.7M14 10.8H3.5M6.2 8.1l-2.7 2.7 2.7 2.7",
            ),
            Self::Start => (CIRCLE, "M6.4 5.2l4.2 2.8-4.2 2.8z"),
            Self::Minus => (CIRCLE, "M5 8h6"),
            Self::Check => (CIRCLE, "M5.2 8.2l2 2 3.7-4.2"),
            Self::Flag => ("", "M4 14.2V2.2h8.4l-2 3 2 3H4"),
            Self::Offline => (
                "",
                "M1.8 6q6.2-5 12.4 0M4.2 8.8q3.8-3 7.6 0M8 12.4v.4M2.2 14L13.8 2.4",
            ),
            Self::Ring => (CIRCLE, ""),
            Self::Chevron => ("", "M6 3.5L10.5 8 6 12.5"),
        }
    }
}

pub(super) fn icon(which: Icon) -> Markup {
    let (circle, path) = which.shapes();
    html! {
        svg.icon viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false" {
            (PreEscaped(circle))
            @if !path.is_empty() { path d=(path) {} }
        }
    }
}

pub(super) fn of_pair(state: PairState) -> (Icon, Tone) {
    match state {
        PairState::Failed => (Icon::Failed, Tone::Bad),
        PairState::Stuck => (Icon::Warning, Tone::Bad),
        PairState::Unreadable => (Icon::Unreadable, Tone::Bad),
        PairState::Unknown => (Icon::Question, Tone::Warn),
        PairState::Waiting => (Icon::Clock, Tone::Idle),
        PairState::Pending => (Icon::Dotted, Tone::Busy),
        PairState::Pulling => (Icon::Down, Tone::Busy),
        PairState::Upgrading => (Icon::Swap, Tone::Busy),
        PairState::Starting => (Icon::Start, Tone::Busy),
        PairState::Removing => (Icon::Minus, Tone::Busy),
        PairState::Running => (Icon::Check, Tone::Good),
        PairState::Finished => (Icon::Flag, Tone::Good),
    }
}

pub(super) fn of_device(state: DeviceState) -> (Icon, Tone) {
    match state {
        DeviceState::Offline => (Icon::Offline, Tone::Warn),
        DeviceState::Unknown => (Icon::Question, Tone::Warn),
        DeviceState::Online => (Icon::Check, Tone::Good),
    }
}

pub(super) fn of_link(state: LinkState) -> (Icon, Tone) {
    match state {
        LinkState::Done => (Icon::Check, Tone::Good),
        LinkState::Waiting => (Icon::Clock, Tone::Busy),
        LinkState::Blocked => (Icon::Failed, Tone::Bad),
        LinkState::Later => (Icon::Ring, Tone::Idle),
    }
}

pub(super) fn of_attention(kind: AttentionKind) -> (Icon, Tone) {
    match kind {
        AttentionKind::Failed => (Icon::Failed, Tone::Bad),
        AttentionKind::Stuck => (Icon::Warning, Tone::Bad),
        AttentionKind::Unreadable => (Icon::Unreadable, Tone::Bad),
        AttentionKind::Offline => (Icon::Offline, Tone::Warn),
        AttentionKind::Unhealthy => (Icon::Warning, Tone::Warn),
        AttentionKind::SelectsNothing => (Icon::Question, Tone::Warn),
    }
}
