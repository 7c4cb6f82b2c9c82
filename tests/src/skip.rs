//! Tests that need what a machine may lack say so instead of passing silently.

use std::path::PathBuf;

/// Says why a test can't run here. With `CI` set that is a failure: there, everything must be at hand.
#[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {reason}");
    eprintln!("skipped: {reason}");
}

/// Whether this process may change its user; if not, says that the test is skipped.
pub fn is_root_or_skip(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(&format!("only root can show this: {what}"));
    }
    root
}

/// A program to compare with, which a variable of the environment names. No package registry has such programs, so
/// that its absence is said but fails nothing, in CI either.
#[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn peer(variable: &str, what: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        eprintln!("skipped: {variable} names no {what} to compare with");
    }
    program
}
