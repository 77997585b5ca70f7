//! Ctrl-C and SIGTERM: noted here, acted upon by whoever waits for something.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on an interrupt is only noted; whoever waits must look at [`requested`] or [`check`].
pub fn watch() -> Result<()> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::SeqCst)).context("cannot watch for Ctrl-C")
}

/// Whether somebody asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error when somebody asked to stop.
pub fn check() -> Result<()> {
    if requested() { bail!("interrupted") } else { Ok(()) }
}
