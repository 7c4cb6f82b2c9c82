//! The terminal a live table is drawn on: in place, below what was typed. While it is claimed, keys are not echoed,
//! since an echo would tear the table. Invariant: whatever way the process ends by itself, the terminal is restored.

use std::{
    io::{self, IsTerminal, Read, Write},
    sync::{Mutex, PoisonError},
};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::table::Size;

/// How the terminal was before it was claimed.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A claimed terminal. Dropping it restores the terminal and leaves the last table on it.
pub(crate) struct Terminal {
    drawn_lines: usize,
}

/// Whether a table can be drawn on standard output: a terminal that can move its cursor, with us in front.
pub(crate) fn is_usable() -> bool {
    let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    let stdout = io::stdout();
    // Setting a terminal's mode from the background stops the process.
    let in_front = || tcgetpgrp(&stdout).is_ok_and(|group| group == rustix::process::getpgrp());
    able && stdout.is_terminal() && in_front()
}

impl Terminal {
    /// Takes the terminal; call it where [`is_usable`].
    pub(crate) fn claim() -> Self {
        let stdin = io::stdin();
        if let Ok(before) = tcgetattr(&stdin) {
            let mut quiet = before.clone();
            quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &quiet);
        }
        Self { drawn_lines: 0 }
    }

    /// How large it is now.
    pub(crate) fn size(&self) -> Size {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            Ok(_) | Err(_) => Size { columns: 80, rows: 24 },
        }
    }

    /// Draws lines in the place of the ones before.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(redraw(self.drawn_lines, lines).as_bytes()).and_then(|()| stdout.flush());
        self.drawn_lines = lines.len();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back; to be called before the process is ended without unwinding.
pub(crate) fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let stdin = io::stdin();
        let _ = tcflush(&stdin, QueueSelector::IFlush);
        let _ = tcsetattr(&stdin, OptionalActions::Now, &before);
    }
}

/// The keys that are pressed, one character each. Reads from a thread of its own, which ends with the process.
pub(crate) fn keys() -> UnboundedReceiver<char> {
    let (sender, receiver) = unbounded_channel();
    let read = move || {
        for byte in io::stdin().lock().bytes() {
            let Ok(byte) = byte else { return };
            if sender.send(char::from(byte)).is_err() {
                return;
            }
        }
    };
    // Without the thread there are no keys, and everything else works.
    let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(read);
    receiver
}

/// What to write to replace `drawn` lines above the cursor by new ones.
fn redraw(drawn: usize, lines: &[String]) -> String {
    let up = if drawn == 0 { String::new() } else { format!("\x1b[{drawn}A") };
    let body: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("{up}\r{body}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redraw_goes_up_and_clears_what_the_new_lines_do_not_cover() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(redraw(0, &lines), "\ra\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(redraw(3, &lines), "\x1b[3A\ra\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(redraw(1, &[]), "\x1b[1A\r\x1b[J");
    }
}
