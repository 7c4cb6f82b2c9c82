//! What the operator does and takes in one phase: its memory and CPU as the kernel says, its reconciles as its metrics
//! say, its writes as the API server's audit log says.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::scrape::Reconciles;
use crate::{
    bench::tree,
    clients,
    cluster::{ControlPlane, Request},
    operator::{Operator, USER},
};

/// One running operator.
pub(super) struct Meter<'a> {
    cluster: &'a ControlPlane,
    pid: u32,
    metrics: u16,
}

/// How things stood when a phase began.
pub(super) struct Begun {
    at: Instant,
    cpu: f64,
    writes: usize,
    reconciles: Reconciles,
}

/// What a phase came to.
#[derive(Debug, Clone)]
pub struct Phase {
    pub lasted: Duration,
    /// Resident memory at its end, in bytes.
    pub resident: u64,
    /// The most resident memory during the phase, in bytes.
    pub peak: u64,
    pub cpu: Duration,
    /// Writes to the API server but the Lease's: verb and resource to their number.
    pub writes: BTreeMap<String, usize>,
    pub(super) reconciles: Reconciles,
}

impl Phase {
    /// All writes together.
    pub fn all_writes(&self) -> usize {
        self.writes.values().sum()
    }
}

impl<'a> Meter<'a> {
    pub(super) fn new(cluster: &'a ControlPlane, operator: &mut Operator) -> Self {
        Self { cluster, pid: operator.process().pid(), metrics: operator.metrics_port() }
    }

    /// Begins a phase; the peak of the one before is forgotten.
    pub(super) fn begin(&self) -> Result<Begun> {
        // Without this the peak is that since the start of the process.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
        Ok(Begun {
            at: Instant::now(),
            cpu: tree::cpu_seconds(self.pid)?,
            writes: self.writes().len(),
            reconciles: self.reconciles()?,
        })
    }

    /// What to compare with at the end of a phase that began with the start of the process, after so many writes.
    pub(super) fn newborn(at: Instant, writes: usize) -> Begun {
        Begun { at, cpu: 0.0, writes, reconciles: Reconciles::default() }
    }

    /// Ends a phase.
    pub(super) fn end(&self, begun: &Begun) -> Result<Phase> {
        let lasted = begun.at.elapsed();
        let cpu = tree::cpu_seconds(self.pid)? - begun.cpu;
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the operator has ended")?;
        let mut writes = BTreeMap::new();
        for request in self.writes().split_off(begun.writes) {
            *writes.entry(said(&request)).or_default() += 1;
        }
        Ok(Phase {
            lasted,
            resident: memory(&status, "VmRSS:").context("VmRSS")?,
            peak: memory(&status, "VmHWM:").context("VmHWM")?,
            cpu: Duration::from_secs_f64(cpu.max(0.0)),
            writes,
            reconciles: self.reconciles()?.since(&begun.reconciles),
        })
    }

    /// How many writes there were so far.
    pub(super) fn written(&self) -> usize {
        self.writes().len()
    }

    fn writes(&self) -> Vec<Request> {
        let is_lease = |request: &Request| request.resource == "leases";
        let all = self.cluster.requests_of(USER).into_iter();
        all.filter(|request| request.is_write() && !is_lease(request)).collect()
    }

    fn reconciles(&self) -> Result<Reconciles> {
        let answer = clients::http("GET", self.metrics, "/metrics").context("the operator's metrics")?;
        Ok(Reconciles::read(&answer.body))
    }
}

fn said(request: &Request) -> String {
    let subresource = request.subresource.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
    format!("{} {}{subresource}", request.verb, request.resource)
}

/// Reads a line of /proc/PID/status, whose figures are in KiB.
fn memory(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    200 kB\nVmRSS:\t    100 kB\n";
        assert_eq!(memory(status, "VmRSS:"), Some(102_400));
        assert_eq!(memory(status, "VmHWM:"), Some(204_800));
        assert_eq!(memory(status, "VmSwap:"), None);
    }
}
