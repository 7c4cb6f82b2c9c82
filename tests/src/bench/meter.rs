//! CPU of a forwarder, all its processes and threads: from a control group of its own where one can be made,
//! otherwise from /proc, whose clock ticks are coarse (10 ms).
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::tree;

/// Where the CPU accounting of control groups is found, and in which file.
const VERSION_1: (&str, &str) = ("/sys/fs/cgroup/cpuacct", "cpuacct.usage");
const VERSION_2: (&str, &str) = ("/sys/fs/cgroup", "cpu.stat");

/// A control group without limits; it is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    path: PathBuf,
    usage: &'static str,
}

impl ControlGroup {
    /// Makes a group called `name`; none where that is not possible.
    pub(crate) fn create(name: &str) -> Option<Self> {
        [VERSION_1, VERSION_2].into_iter().find_map(|(root, usage)| {
            let group = Self { path: Path::new(root).join(name), usage };
            fs::create_dir(&group.path).ok()?;
            group.seconds().is_ok().then_some(group)
        })
    }

    /// The file into which a process writes its id to join.
    pub(crate) fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    fn seconds(&self) -> Result<f64> {
        let file = self.path.join(self.usage);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        parse_usage(&text).with_context(|| format!("{}: not a CPU usage", file.display()))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A killed process leaves its group a moment after it was waited for.
        let deadline = Instant::now() + Duration::from_secs(1);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Reads CPU time in seconds, as `cpuacct.usage` (nanoseconds) or `cpu.stat` (`usage_usec N`) has it.
fn parse_usage(text: &str) -> Option<f64> {
    if let Ok(nanoseconds) = text.trim().parse::<u64>() {
        return Some(nanoseconds as f64 / 1e9);
    }
    let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(microseconds.trim().parse::<u64>().ok()? as f64 / 1e6)
}

/// Where a forwarder's CPU time is read.
#[derive(Debug)]
pub(crate) enum CpuMeter {
    /// Nothing stands between client and target.
    Direct,
    ControlGroup(ControlGroup),
    /// A process and its descendants.
    Tree(u32),
}

impl CpuMeter {
    /// CPU seconds since the forwarder was started; none without one.
    pub(crate) fn seconds(&self) -> Result<Option<f64>> {
        match self {
            Self::Direct => Ok(None),
            Self::ControlGroup(group) => group.seconds().map(Some),
            Self::Tree(root) => tree::cpu_seconds(*root).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_understood() {
        let cases = [
            ("1500000000\n", Some(1.5)),
            ("usage_usec 2500000\nuser_usec 1\n", Some(2.5)),
            ("nr_periods 0\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_usage(text), expected, "{text:?}");
        }
    }
}
