//! How a build tells where it is: one line that renews itself on a terminal, plain lines into a pipe.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Receives what a build does. Stages are told once, lines come as often as the tools print.
pub trait Progress {
    /// A stage begins.
    fn begin(&self, stage: &str);
    /// A tool printed a line within the stage.
    fn line(&self, text: &str);
    /// The stage ended; `detail` is one short fact about it (may be empty).
    fn end(&self, detail: &str);
}

/// The form that fits standard error.
#[must_use]
pub fn for_stderr() -> Box<dyn Progress> {
    if io::stderr().is_terminal() {
        Box::new(Terminal::default())
    } else {
        Box::new(Plain::default())
    }
}

struct Running {
    stage: String,
    began: Instant,
    told: Instant,
}

impl Running {
    fn new(stage: &str) -> Self {
        let now = Instant::now();
        Self {
            stage: stage.to_owned(),
            began: now,
            told: now,
        }
    }

    /// Whether a line is due again.
    fn due(&mut self, every: Duration) -> bool {
        let due = self.told.elapsed() >= every;
        if due {
            self.told = Instant::now();
        }
        due
    }
}

/// Lines on standard error; within a stage one each five seconds.
#[derive(Default)]
pub struct Plain(RefCell<Option<Running>>);

impl Progress for Plain {
    fn begin(&self, stage: &str) {
        eprintln!("image: {stage} …");
        *self.0.borrow_mut() = Some(Running::new(stage));
    }

    fn line(&self, text: &str) {
        if let Some(running) = self.0.borrow_mut().as_mut()
            && running.due(Duration::from_secs(5))
        {
            eprintln!(
                "image: {} … {} s: {text}",
                running.stage,
                running.began.elapsed().as_secs()
            );
        }
    }

    fn end(&self, detail: &str) {
        if let Some(running) = self.0.borrow_mut().take() {
            eprintln!(
                "image: {} {:.1} s {detail}",
                running.stage,
                running.began.elapsed().as_secs_f32()
            );
        }
    }
}

/// One line on the terminal that is rewritten, and stays when its stage ends.
#[derive(Default)]
pub struct Terminal(RefCell<Option<Running>>);

const CLEAR_LINE: &str = "\r\x1b[K";
const WIDTH: usize = 78;

impl Terminal {
    fn show(text: &str) {
        let cut: String = text.chars().take(WIDTH).collect();
        eprint!("{CLEAR_LINE}{cut}");
        let _not_vital = io::stderr().flush();
    }
}

impl Progress for Terminal {
    fn begin(&self, stage: &str) {
        Self::show(&format!("  {stage} …"));
        *self.0.borrow_mut() = Some(Running::new(stage));
    }

    fn line(&self, text: &str) {
        if let Some(running) = self.0.borrow_mut().as_mut()
            && running.due(Duration::from_millis(100))
        {
            Self::show(&format!(
                "  {} {} s · {text}",
                running.stage,
                running.began.elapsed().as_secs()
            ));
        }
    }

    fn end(&self, detail: &str) {
        if let Some(running) = self.0.borrow_mut().take() {
            let seconds = running.began.elapsed().as_secs_f32();
            Self::show(&format!("✓ {} {seconds:.1} s {detail}", running.stage));
            eprintln!();
        }
    }
}
