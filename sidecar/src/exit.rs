//! How the process ends, as a shell sees it.

use std::process::ExitCode;

use crate::{signals::Ending, terminal};

/// The end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// It could not be done: a port is taken, a check failed.
    Failed,
    /// What was typed or written is wrong.
    Invalid,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Invalid => Self::from(2),
        }
    }
}

/// Ends the process at once: no connection, reader or thread is waited for.
#[allow(clippy::disallowed_methods, reason = "that is what a second signal asks for")]
pub(crate) fn now(ending: Ending) -> ! {
    terminal::restore();
    std::process::exit(ending.exit_code().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_code() {
        // An `ExitCode` shows its value in no other way.
        let codes = [Exit::Done, Exit::Failed, Exit::Invalid].map(|exit| format!("{:?}", ExitCode::from(exit)));
        assert_eq!(codes, [0, 1, 2].map(|code| format!("{:?}", ExitCode::from(code))));
    }
}
