//! Where log lines go: to standard error as text or JSON, or, while a table has the screen, into the table's events.
//! RUST_LOG filters both; without it, `info`.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use crate::{
    args::LogFormat,
    clock::{self, Stamp},
};

/// Log lines a table remembers.
const REMEMBERED: usize = 50;

/// Begins to log to standard error.
pub(crate) fn to_stderr(format: LogFormat) {
    let layer = fmt::layer().with_writer(io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter());
    match format {
        LogFormat::Json => install(registry.with(layer.with_timer(Stamp).json().flatten_event(true))),
        LogFormat::Text => install(registry.with(layer.with_timer(Stamp).with_ansi(io::stderr().is_terminal()))),
    }
}

/// Begins to log into memory, for a table to show; and to standard error, where that isn't the table's terminal.
pub(crate) fn to_memory(format: LogFormat) -> Events {
    let events = Events::default();
    let memory = || fmt::layer().with_writer(events.clone()).with_target(false).without_time().with_ansi(false);
    let stderr = || fmt::layer().with_writer(io::stderr).with_target(false).with_timer(Stamp).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter());
    match (io::stderr().is_terminal(), format) {
        (true, _) => install(registry.with(memory())),
        (false, LogFormat::Text) => install(registry.with(memory()).with(stderr())),
        (false, LogFormat::Json) => install(registry.with(memory()).with(stderr().json().flatten_event(true))),
    }
    events
}

/// Without what libraries say through the `log` crate: a watch that is gone with its directory is no news.
fn install(subscriber: impl Subscriber + Send + Sync) {
    // A second one in the same process is refused; the first one goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn filter() -> EnvFilter {
    EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy()
}

/// The latest log lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Mutex<VecDeque<Event>>>);

/// One log line without its time, and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) time: Timestamp,
    pub(crate) line: String,
}

impl Events {
    /// At most `count` lines, the latest last.
    pub(crate) fn latest(&self, count: usize) -> Vec<Event> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REMEMBERED {
            lines.pop_front();
        }
        lines.push_back(Event { time: clock::now(), line: line.to_owned() });
    }
}

/// Takes one log line, which comes in whole.
impl io::Write for &Events {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(String::from_utf8_lossy(line).trim());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Events {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_the_latest_lines_are_remembered() {
        let events = Events::default();
        for number in 0..REMEMBERED + 2 {
            (&events).write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let lines: Vec<String> = events.latest(2).into_iter().map(|event| event.line).collect();
        assert_eq!(lines, [format!("line {REMEMBERED}"), format!("line {}", REMEMBERED + 1)]);
        assert_eq!(events.latest(1000).len(), REMEMBERED);
    }
}
