//! How a person or a script follows what runs: a live table, log lines, or JSON lines. From the board to the screen.

use std::time::Duration;

use anyhow::Context;
use fairlead_engine::ForwardStats;

use crate::{
    args::{LogFormat, OutputFormat},
    board::{Board, Seen},
    clock, logging,
    logging::Events,
    output::{LineError, Lines},
    table::{self, Content},
    terminal::{self, Terminal},
};

/// How often a table is drawn anew, for its counters and ages.
const TABLE_TICK: Duration = Duration::from_millis(500);
/// How soon a slow reader of JSON lines is tried again.
const LINES_TICK: Duration = Duration::from_millis(200);

/// One of the ways to follow what runs.
pub(crate) enum View {
    /// Log lines alone, which are written where things happen.
    Log,
    Json(Json),
    Table(Table),
}

/// JSON lines for a reader, who gets every change of an object but not every state between two reads.
pub(crate) struct Json {
    /// None once the reader went away.
    lines: Option<Lines>,
    seen: Seen,
    /// The reader is slow and has not been told everything.
    behind: bool,
}

/// A live table.
pub(crate) struct Table {
    terminal: Terminal,
    events: Events,
    most_events: usize,
    hint: String,
}

/// A view that was chosen and has not begun: logging has, the screen is untouched.
pub(crate) enum Chosen {
    Log,
    Json,
    Table(Events),
}

/// Chooses the view and begins to log. The error says what to write instead.
pub(crate) fn choose(wanted: Option<OutputFormat>, log_format: LogFormat) -> Result<Chosen, String> {
    let usable = terminal::is_usable();
    match wanted {
        Some(OutputFormat::Table) if !usable => Err("-o table needs a terminal; write -o log or -o json".to_owned()),
        Some(OutputFormat::Table) => Ok(Chosen::Table(logging::to_memory(log_format))),
        None if usable => Ok(Chosen::Table(logging::to_memory(log_format))),
        Some(OutputFormat::Json) => {
            logging::to_stderr(log_format);
            Ok(Chosen::Json)
        }
        Some(OutputFormat::Log) | None => {
            logging::to_stderr(log_format);
            Ok(Chosen::Log)
        }
    }
}

impl Chosen {
    /// Begins to show; a table with this many events at most, and this line below it.
    pub(crate) fn begin(self, most_events: usize, hint: &str) -> anyhow::Result<View> {
        Ok(match self {
            Self::Log => View::Log,
            Self::Json => {
                let lines = Lines::to_stdout().context("start the thread that writes to standard output")?;
                View::Json(Json { lines: Some(lines), seen: Seen::default(), behind: false })
            }
            Self::Table(events) => {
                View::Table(Table { terminal: Terminal::claim(), events, most_events, hint: hint.to_owned() })
            }
        })
    }
}

impl View {
    /// Shows the present state.
    pub(crate) fn show(&mut self, board: &Board, stats: impl FnOnce() -> Vec<ForwardStats>) {
        match self {
            Self::Log => {}
            Self::Json(json) => json.show(board),
            Self::Table(table) => table.show(board, &stats()),
        }
    }

    /// After what time to show again though nothing happened.
    pub(crate) fn tick(&self) -> Option<Duration> {
        match self {
            Self::Log => None,
            Self::Json(json) => json.behind.then_some(LINES_TICK),
            Self::Table(_) => Some(TABLE_TICK),
        }
    }

    /// Changes the table's last line.
    pub(crate) fn set_hint(&mut self, hint: &str) {
        if let Self::Table(table) = self {
            hint.clone_into(&mut table.hint);
        }
    }
}

impl Json {
    fn show(&mut self, board: &Board) {
        self.behind = false;
        let Some(lines) = &self.lines else { return };
        for object in self.seen.news(board, clock::now()) {
            let Ok(line) = serde_json::to_string(&object) else { continue };
            match lines.send(line) {
                Ok(()) => self.seen.note(object),
                Err(LineError::Full) => {
                    self.behind = true;
                    return;
                }
                Err(LineError::Closed) => {
                    tracing::warn!("nobody reads standard output any more; forwarding goes on");
                    self.lines = None;
                    return;
                }
            }
        }
    }
}

impl Table {
    fn show(&mut self, board: &Board, stats: &[ForwardStats]) {
        let size = self.terminal.size();
        let events = self.events.latest(self.most_events.min(size.rows));
        let content = Content { objects: board.objects().collect(), stats, events, hint: &self.hint };
        let lines = table::draw(&content, size, clock::now());
        self.terminal.draw(&lines);
    }
}
