//! What is done to a forwarder: load generators that run in this process and count what came through.
//! A load runs through a warm-up and a window; only what happens inside the window counts, of the load and of the CPU meter alike.
pub(crate) mod bulk;
pub(crate) mod connect;
pub(crate) mod datagrams;
pub(crate) mod entrance;
pub(crate) mod flood;
pub(crate) mod half_close;
pub(crate) mod idle;
pub(crate) mod paced;
pub(crate) mod request;
pub(crate) mod sizes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::meter::CpuMeter;

/// How long a load's thread sleeps at most before it looks whether it has to stop.
const TURN: Duration = Duration::from_millis(20);

/// When to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
}

/// What happened inside the window.
pub(crate) struct Figures {
    /// Units of work: bytes, connections, requests or datagrams.
    pub(crate) units: u64,
    pub(crate) seconds: f64,
    /// CPU seconds of the forwarder; none without one.
    pub(crate) cpu: Option<f64>,
    /// Nanoseconds per unit, sorted; empty where a unit has no latency.
    pub(crate) latencies: Vec<u32>,
}

impl Figures {
    /// Units per second.
    pub(crate) fn rate(&self) -> f64 {
        self.units as f64 / self.seconds
    }

    /// CPU seconds per unit.
    pub(crate) fn cpu_per_unit(&self) -> Option<f64> {
        Some(self.cpu? / self.units as f64)
    }

    /// The latency in seconds that the share `p` of all units stays within.
    pub(crate) fn latency(&self, p: f64) -> Option<f64> {
        super::stats::percentile(&self.latencies, p).map(|ns| f64::from(ns) / 1e9)
    }
}

/// What the threads of a load share.
#[derive(Default)]
pub(crate) struct Progress {
    stop: AtomicBool,
    recording: AtomicBool,
    units: AtomicU64,
}

impl Progress {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the window is open.
    fn recording(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    fn add(&self, units: u64) {
        self.units.fetch_add(units, Ordering::Relaxed);
    }

    fn record(&self, started: Instant, latencies: &mut Vec<u32>) {
        self.add(1);
        if self.recording() {
            let nanoseconds = started.elapsed().as_nanos();
            latencies.push(u32::try_from(nanoseconds).unwrap_or(u32::MAX));
        }
    }
}

/// Runs `work` on several threads and reads the counters at both ends of the window.
pub(crate) fn measure<W>(window: Window, meter: &CpuMeter, threads: usize, work: W) -> Result<Figures>
where
    W: Fn(&Progress) -> Result<Vec<u32>> + Sync,
{
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&progress))).collect();
        let observed = observe(window, meter, &progress);
        progress.stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for worker in workers {
            let part = worker.join().map_err(|_| anyhow!("a load generator panicked"))?;
            latencies.extend(part?);
        }
        latencies.sort_unstable();
        Ok(Figures { latencies, ..observed? })
    })
}

fn observe(window: Window, meter: &CpuMeter, progress: &Progress) -> Result<Figures> {
    std::thread::sleep(window.warm_up);
    progress.recording.store(true, Ordering::Relaxed);
    let cpu_before = meter.seconds()?;
    let units_before = progress.units.load(Ordering::Relaxed);
    let begin = Instant::now();
    std::thread::sleep(window.measure);
    let units = progress.units.load(Ordering::Relaxed) - units_before;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_after = meter.seconds()?;
    progress.recording.store(false, Ordering::Relaxed);
    Ok(Figures {
        units,
        seconds,
        cpu: cpu_after.zip(cpu_before).map(|(after, before)| after - before),
        latencies: Vec::new(),
    })
}
