//! The real `fairlead` program, running: what it prints is collected as it comes, and it dies with its test.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    bench::tree,
    deadline::{SOON, await_some},
    ports,
};

mod launch;
mod output;

pub use launch::{Launch, operator, program};
pub use output::Line;
use output::Output;

/// What a program that ended by itself left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Starts the program with these arguments and waits for its end.
pub fn finish(arguments: &[&str]) -> Finished {
    Launch::new(arguments).finish()
}

/// A running program; dropping it kills it.
pub struct Fairlead {
    child: Child,
    stdout: Output,
    stderr: Output,
    _copy: Option<TempDir>,
}

impl Fairlead {
    /// Starts the program with these arguments.
    pub fn run(arguments: &[&str]) -> Self {
        Launch::new(arguments).start()
    }

    /// Waits until somebody listens on the port, which tells nobody anything.
    pub fn await_listening(&self, port: u16) {
        await_some("a listener", SOON, || {
            let ended = self.stderr.has_ended();
            assert!(!ended, "ended instead of listening on port {port}:\n{}", self.printed());
            ports::listener_on(port)
        });
    }

    /// Every object printed on standard output so far. Panics over a line that is none.
    pub fn objects(&self) -> Vec<Value> {
        self.stdout.lines(0).iter().map(Line::object).collect()
    }

    /// How many lines stand on standard output; what comes later has a higher number.
    pub fn mark(&self) -> usize {
        self.stdout.lines(0).len()
    }

    /// Waits for an object on standard output that is as wanted.
    pub fn await_object(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.await_object_after(0, what, wanted).object()
    }

    /// Waits for such an object among those printed after the mark.
    pub fn await_object_after(&self, mark: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Line {
        self.stdout.await_line(mark, SOON, |line| wanted(&line.object())).unwrap_or_else(|| {
            panic!("no object with {what} came. Printed so far:\n{}", self.printed());
        })
    }

    /// How many lines stand on standard error; what comes later has a higher number.
    pub fn log_mark(&self) -> usize {
        self.stderr.lines(0).len()
    }

    /// Waits for a line on standard error that contains `text`.
    pub fn await_log(&self, text: &str) -> Line {
        self.await_log_after(0, text)
    }

    /// Waits for such a line among those printed after the mark.
    pub fn await_log_after(&self, mark: usize, text: &str) -> Line {
        self.stderr.await_line(mark, SOON, |line| line.text.contains(text)).unwrap_or_else(|| {
            panic!("no line with {text:?} came. Printed so far:\n{}", self.printed());
        })
    }

    /// Waits for a line on standard output that contains `text`.
    pub fn await_line(&self, text: &str) -> Line {
        self.stdout.await_line(0, SOON, |line| line.text.contains(text)).unwrap_or_else(|| {
            panic!("no line with {text:?} came. Printed so far:\n{}", self.printed());
        })
    }

    /// Everything printed so far, for messages.
    pub fn printed(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout.whole(), self.stderr.whole())
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("signal fairlead");
    }

    /// Waits for its end and answers the exit code, or minus the signal that ended it.
    pub fn await_exit(&mut self, limit: Duration) -> i32 {
        let status = await_some("the program's end", limit, || self.exit_status());
        self.stdout.await_end();
        self.stderr.await_end();
        status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask after fairlead")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory it has resident, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the program runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// CPU time it has used.
    pub fn cpu(&self) -> Duration {
        Duration::from_secs_f64(tree::cpu_seconds(self.child.id()).expect("its CPU time"))
    }

    /// Memory it has resident, in bytes.
    pub fn resident(&self) -> u64 {
        tree::holdings(self.child.id()).expect("its memory").resident
    }

    /// Descriptors it has open.
    pub fn descriptors(&self) -> u64 {
        tree::holdings(self.child.id()).expect("its descriptors").descriptors
    }
}

impl Drop for Fairlead {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this process, and what it starts, have at least `count` descriptors; false where that isn't allowed.
pub fn allow_descriptors(count: u64) -> bool {
    let present = rustix::process::getrlimit(Resource::Nofile);
    if present.current.is_none_or(|limit| limit >= count) {
        return true;
    }
    let maximum = present.maximum.map(|maximum| maximum.max(count));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).is_ok()
}
