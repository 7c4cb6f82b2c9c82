//! The only module that prints. Answers go to standard output, complaints to standard error, and a reader who went
//! away is no reason to panic.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// JSON lines that may wait for a slow reader.
const WAITING_LINES: usize = 1024;
/// How long the end of the process waits for a slow reader.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Prints text to standard output.
pub(crate) fn print(text: impl AsRef<[u8]>) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_ref()).and_then(|()| stdout.flush());
}

/// Prints one line to standard output.
pub(crate) fn line(text: &str) {
    print(format!("{text}\n"));
}

/// Prints one problem to standard error.
pub(crate) fn error(problem: &str) {
    complain("error", problem);
}

/// Prints one warning to standard error.
pub(crate) fn warning(warning: &str) {
    complain("warning", warning);
}

/// Prints one remark to standard error.
pub(crate) fn note(note: &str) {
    complain("note", note);
}

/// Prints a complaint that was laid out already to standard error.
pub(crate) fn complaint(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn complain(what: &str, text: &str) {
    let _ = writeln!(io::stderr().lock(), "{what}: {}", one_line(text));
}

/// What a message quotes may hold line breaks and terminal control sequences.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes lines to standard output from a thread of its own, so that a reader who doesn't read stops nothing else.
pub(crate) struct Lines {
    sender: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
}

/// Why a line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineError {
    /// The reader is slow: try again later.
    Full,
    /// The reader went away.
    Closed,
}

impl Lines {
    /// Begins to write to standard output.
    pub(crate) fn to_stdout() -> io::Result<Self> {
        Self::write_to(io::stdout())
    }

    fn write_to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_LINES);
        let writer = std::thread::Builder::new().name("stdout".to_owned()).spawn(move || write_all(&receiver, sink))?;
        Ok(Self { sender: Some(sender), writer: Some(writer) })
    }

    /// Takes one line without its line break.
    pub(crate) fn send(&self, line: String) -> Result<(), LineError> {
        let sender = self.sender.as_ref().ok_or(LineError::Closed)?;
        sender.try_send(line).map_err(|error| match error {
            TrySendError::Full(_) => LineError::Full,
            TrySendError::Disconnected(_) => LineError::Closed,
        })
    }
}

impl Drop for Lines {
    #[allow(
        clippy::disallowed_methods,
        reason = "connections have ended by now, and a thread can't be joined with a deadline"
    )]
    fn drop(&mut self) {
        drop(self.sender.take());
        let Some(writer) = self.writer.take() else { return };
        let deadline = Instant::now() + LAST_LINES;
        while !writer.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn write_all(lines: &Receiver<String>, mut sink: impl Write) {
    while let Ok(line) = lines.recv() {
        if writeln!(sink, "{line}").and_then(|()| sink.flush()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn lines_arrive_in_order_and_the_last_ones_are_not_lost_at_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let lines = Lines::write_to(ours).unwrap();
        for number in 0..100 {
            lines.send(number.to_string()).unwrap();
        }
        drop(lines);
        let read: Vec<String> = BufReader::new(theirs).lines().map(Result::unwrap).collect();
        assert_eq!(read, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_who_does_not_read_blocks_nobody() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let lines = Lines::write_to(ours).unwrap();
        let line = "x".repeat(10_000);
        let full = (0..100_000).find_map(|_| lines.send(line.clone()).err());
        assert_eq!(full, Some(LineError::Full));
    }

    #[test]
    fn a_reader_who_went_away_is_noticed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let lines = Lines::write_to(ours).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while lines.send("x".to_owned()) != Err(LineError::Closed) {
            assert!(Instant::now() < deadline, "still takes lines");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_message_keeps_to_one_line_whatever_it_quotes() {
        assert_eq!(one_line("a\nb\x1b[2Jc"), "a b [2Jc");
    }
}
