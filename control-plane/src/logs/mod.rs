//! What containers wrote, made safe to show.
//!
//! A log line is whatever a stranger's program wrote: colours that help, and sequences that would move the cursor, set a
//! clipboard, hide a link or reorder the text. [`ansi`] turns a line into text with styles and nothing else, once, for the page
//! and the terminal alike; [`search`] finds words in it.
//!
//! Nothing here does I/O.

pub mod ansi;
pub mod search;
