//! What a forwarder takes, all its processes together, as /proc tells it.
use std::fs;

use anyhow::{Context, Result};

/// What the processes of a forwarder hold, in bytes and descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Anonymous memory, pages shared by several processes divided among them.
    pub(crate) anonymous: u64,
    /// Resident memory, shared pages counted in every process.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
}

/// Sums up a process and all its descendants.
pub(crate) fn holdings(root: u32) -> Result<Holdings> {
    let mut sum = Holdings::default();
    for pid in processes(root)? {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("memory of process {pid}"))?;
        let one = memory(&rollup);
        sum.anonymous += one.anonymous;
        sum.resident += one.resident;
        sum.descriptors += fs::read_dir(format!("/proc/{pid}/fd"))
            .with_context(|| format!("descriptors of process {pid}"))?
            .count() as u64;
    }
    Ok(sum)
}

/// CPU seconds of a process and all its descendants, those it has already waited for included.
pub(crate) fn cpu_seconds(root: u32) -> Result<f64> {
    let ticks: u64 = processes(root)?.into_iter().filter_map(|pid| Some(parse_stat(&read_stat(pid)?)?.ticks)).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The process `root` and its descendants.
pub(crate) fn processes(root: u32) -> Result<Vec<u32>> {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = read_stat(pid).as_deref().and_then(parse_stat) {
            all.push((pid, stat.parent));
        }
    }
    Ok(descendants(root, &all))
}

fn descendants(root: u32, all: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found
}

fn read_stat(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

struct Stat {
    parent: u32,
    /// User and system time, its own and that of children it has waited for.
    ticks: u64,
}

/// Reads a line of /proc/PID/stat (proc_pid_stat(5)), whose second field may hold spaces and brackets.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>());
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: ticks.sum::<Result<u64, _>>().ok()? })
}

/// Reads /proc/PID/smaps_rollup, whose figures are in KiB.
fn memory(rollup: &str) -> Holdings {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next());
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Holdings { anonymous: field("Pss_Anon:"), resident: field("Rss:"), descriptors: 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_last_bracket() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 0 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 100));
        assert!(parse_stat("42 (cut) S 7").is_none());
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let all = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)];
        assert_eq!(descendants(2, &all), [2, 3, 4]);
    }

    #[test]
    fn a_rollup_is_read_in_bytes() {
        let rollup = "5-7 rollup\nRss:    12 kB\nPss_Anon:     3 kB\n";
        let expected = Holdings { anonymous: 3 * 1024, resident: 12 * 1024, descriptors: 0 };
        assert_eq!(memory(rollup), expected);
    }

    #[test]
    fn this_process_holds_something() {
        let held = holdings(std::process::id()).unwrap();
        assert!(held.resident > 0 && held.descriptors > 0, "{held:?}");
    }
}
