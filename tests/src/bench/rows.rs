//! The rows: which load is put on which forwarder, and what is read off it.
mod socks5;
mod ssh;
mod udp;

use std::net::SocketAddrV4;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::forwarder::Toolbox;
use super::group::{Effort, Group};
use super::load::entrance::Entrance;
use super::load::half_close::First;
use super::load::paced::{self, Answered, Attempt};
use super::load::{Figures, Window, bulk, connect, half_close, idle, request};
use super::measure::Measure;
use super::peer::Peer;
use super::target::{Echo, Source};
use super::{stats, tree};

const MIB: f64 = 1024.0 * 1024.0;

/// New connections per second while a target fails, and when it begins to.
const PACE: u32 = 200;
const BEFORE: Duration = Duration::from_secs(1);

/// How long a killed target is watched, and how long a silent one stays silent.
const KILLED: Duration = Duration::from_secs(4);
const SILENT: Duration = Duration::from_secs(8);

/// What is carried each way around a half-close, in bytes.
const HALF_CLOSE: u64 = 100_000_000;

/// socat forks a process per connection: fewer show the same and leave the machine alive.
const IDLE_WITH_PROCESSES: usize = 200;

const STARTS: usize = 10;

/// What a forwarder reached in one round of a group, with a remark where a value needs one.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) values: Vec<(Measure, f64)>,
    pub(crate) remark: Option<String>,
}

impl Outcome {
    /// The values with their headings, in one line.
    pub(crate) fn show(&self) -> String {
        let show = |(measure, value): &(Measure, f64)| format!("{} {}", measure.show(*value), measure.heading());
        self.values.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

/// Measures one forwarder once.
pub(crate) fn run(group: Group, peer: Peer, toolbox: &Toolbox, effort: &Effort) -> Result<Outcome> {
    let window = Window { warm_up: effort.warm_up, measure: effort.measure };
    match group {
        Group::Bulk64 => run_bulk(peer, toolbox, 64, window),
        Group::Bulk1 => run_bulk(peer, toolbox, 1, window),
        Group::Connect => run_connect(peer, toolbox, window),
        Group::Request => run_request(peer, toolbox, window),
        Group::Idle => run_idle(peer, toolbox, effort.idle_connections),
        Group::UdpClient => udp::run_clients(peer, toolbox, udp::ONE, window),
        Group::UdpClients => udp::run_clients(peer, toolbox, udp::MANY, window),
        Group::UdpFlood => udp::run_flood(peer, toolbox, window),
        Group::UdpMemory => udp::run_memory(peer, toolbox),
        Group::Killed => run_killed(peer, toolbox),
        Group::Silent => run_silent(peer, toolbox),
        Group::SshBulk1 => ssh::run_bulk(peer, toolbox, 1, window),
        Group::SshBulk16 => ssh::run_bulk(peer, toolbox, 16, window),
        Group::SshConnect => ssh::run_connect(peer, toolbox, window),
        Group::HalfClose => run_half_close(peer, toolbox),
        Group::Start => run_start(peer, toolbox),
        Group::HopBulk => socks5::run_hop_bulk(Peer::Microsocks, peer, toolbox, window),
        Group::FastHopBulk => socks5::run_hop_bulk(Peer::Fairlead, peer, toolbox, window),
        Group::HopConnect => socks5::run_hop_connect(peer, toolbox, window),
        Group::ServerBulk => socks5::run_server_bulk(peer, toolbox, window),
        Group::ServerConnect => socks5::run_server_connect(peer, toolbox, window),
    }
}

fn run_bulk(peer: Peer, toolbox: &Toolbox, connections: usize, window: Window) -> Result<Outcome> {
    let target = Source::start()?;
    let forwarder = toolbox.start(peer, &[target.address()])?;
    let figures = bulk::run(&Entrance::plain(forwarder.address), connections, window, &forwarder.meter)?;
    bulk_outcome(&figures)
}

fn bulk_outcome(figures: &Figures) -> Result<Outcome> {
    if figures.units == 0 {
        bail!("no byte came through");
    }
    Ok(outcome([
        (Measure::BulkRate, Some(figures.rate() / 1e9)),
        (Measure::BulkCpu, times(1e9, figures.cpu_per_unit())),
    ]))
}

fn run_connect(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Echo::start()?;
    let forwarder = toolbox.start(peer, &[target.address()])?;
    let figures = connect::run(&Entrance::plain(forwarder.address), window, &forwarder.meter)?;
    Ok(connect_outcome(&figures))
}

fn connect_outcome(figures: &Figures) -> Outcome {
    outcome([
        (Measure::ConnectRate, Some(figures.rate())),
        (Measure::ConnectCpu, times(1e6, figures.cpu_per_unit())),
        (Measure::ConnectP50, times(1e3, figures.latency(0.5))),
        (Measure::ConnectP99, times(1e3, figures.latency(0.99))),
    ])
}

fn run_request(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Echo::start()?;
    let forwarder = toolbox.start(peer, &[target.address()])?;
    let figures = request::run(forwarder.address, 100, window, &forwarder.meter)?;
    Ok(outcome([
        (Measure::RequestRate, Some(figures.rate())),
        (Measure::RequestCpu, times(1e6, figures.cpu_per_unit())),
        (Measure::RequestP99, times(1e3, figures.latency(0.99))),
    ]))
}

fn run_idle(peer: Peer, toolbox: &Toolbox, wanted: usize) -> Result<Outcome> {
    let connections = if peer == Peer::Socat { wanted.min(IDLE_WITH_PROCESSES) } else { wanted };
    let target = Echo::start()?;
    let forwarder = toolbox.start(peer, &[target.address()])?;
    let root = forwarder.id().context("no process to look at")?;
    // What the first connections set up once does not count.
    drop(idle::establish(forwarder.address, 20)?);
    std::thread::sleep(Duration::from_millis(300));
    let before = tree::holdings(root)?;
    let open = idle::establish(forwarder.address, connections)?;
    std::thread::sleep(Duration::from_millis(300));
    let cpu_before = forwarder.meter.seconds()?;
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let cpu = forwarder.meter.seconds()?.zip(cpu_before);
    let seconds = begin.elapsed().as_secs_f64();
    let after = tree::holdings(root)?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / open.len() as f64;
    let descriptors = each(after.descriptors, before.descriptors);
    let mut outcome = outcome([
        (Measure::IdleMemory, Some(each(after.anonymous, before.anonymous) / 1024.0)),
        // A file opened once in a while is nothing a connection holds.
        (Measure::IdleDescriptors, Some((descriptors * 100.0).round() / 100.0)),
        (Measure::IdleCpu, cpu.map(|(after, before)| (after - before) * 1e3 / seconds)),
    ]);
    outcome.remark = (open.len() < wanted).then(|| format!("{} connections only, a process for each", open.len()));
    Ok(outcome)
}

fn run_killed(peer: Peer, toolbox: &Toolbox) -> Result<Outcome> {
    let mut targets = Vec::from(three_targets()?);
    let forwarder = toolbox.start(peer, &addresses(&targets))?;
    let (attempts, span) = under_load(forwarder.address, BEFORE + KILLED, || {
        drop(targets.remove(0));
        let from = Instant::now();
        Ok(from..from + KILLED)
    })?;
    let answered = paced::judge(&attempts, span, paced::GIVE_UP);
    Ok(answered_outcome(Measure::KilledShare, Measure::KilledP99, &answered))
}

fn run_silent(peer: Peer, toolbox: &Toolbox) -> Result<Outcome> {
    let targets = three_targets()?;
    let forwarder = toolbox.start(peer, &addresses(&targets))?;
    let after = Duration::from_secs(1);
    let (attempts, span) = under_load(forwarder.address, BEFORE + SILENT + after, || {
        let from = Instant::now();
        targets[0].fall_silent()?;
        std::thread::sleep(SILENT.saturating_sub(from.elapsed()));
        targets[0].recover()?;
        Ok(from..from + SILENT)
    })?;
    let answered = paced::judge(&attempts, span, Duration::from_secs(1));
    Ok(answered_outcome(Measure::SilentShare, Measure::SilentP99, &answered))
}

fn three_targets() -> Result<[Echo; 3]> {
    Ok([Echo::start()?, Echo::start()?, Echo::start()?])
}

fn addresses(targets: &[Echo]) -> Vec<SocketAddrV4> {
    targets.iter().map(Echo::address).collect()
}

/// Begins connections at a steady pace, disturbs the targets meanwhile, and says when they were disturbed.
fn under_load(
    address: SocketAddrV4,
    duration: Duration,
    disturb: impl FnOnce() -> Result<Range<Instant>>,
) -> Result<(Vec<Attempt>, Range<Instant>)> {
    std::thread::scope(|scope| {
        let load = scope.spawn(|| paced::run(address, PACE, duration));
        std::thread::sleep(BEFORE);
        let span = disturb();
        let attempts = load.join().map_err(|_| anyhow!("the load panicked"))?;
        Ok((attempts?, span?))
    })
}

fn answered_outcome(share: Measure, p99: Measure, answered: &Answered) -> Outcome {
    let mut outcome = outcome([(share, Some(answered.share)), (p99, Some(answered.p99 * 1e3))]);
    outcome.remark = Some(format!("{} connections begun", answered.begun));
    outcome
}

fn run_half_close(peer: Peer, toolbox: &Toolbox) -> Result<Outcome> {
    let mut failures = Vec::new();
    for first in [First::Client, First::Target] {
        let (listener, target) = half_close::listen()?;
        let forwarder = toolbox.start(peer, &[target])?;
        if let Err(error) = half_close::run(forwarder.address, &listener, HALF_CLOSE, first) {
            failures.push(format!("{first:?} first: {error:#}"));
        }
    }
    let passed = if failures.is_empty() { 1.0 } else { 0.0 };
    let mut outcome = outcome([(Measure::HalfClose, Some(passed))]);
    outcome.remark = (!failures.is_empty()).then(|| failures.join("; "));
    Ok(outcome)
}

fn run_start(peer: Peer, toolbox: &Toolbox) -> Result<Outcome> {
    let target = Echo::start()?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (_, time) = toolbox.start_timed(peer, &[target.address()])?;
        times.push(time.as_secs_f64() * 1e3);
    }
    let (forwarder, _) = toolbox.start_timed(peer, &[target.address()])?;
    std::thread::sleep(Duration::from_millis(300));
    let root = forwarder.id().context("no process to look at")?;
    let resident = tree::holdings(root)?.resident as f64;
    let program = toolbox.program(peer).map_err(anyhow::Error::msg)?;
    let size = std::fs::metadata(&program)?.len() as f64;
    Ok(outcome([
        (Measure::StartTime, stats::median(&times)),
        (Measure::IdleResident, Some(resident / MIB)),
        (Measure::ProgramSize, Some(size / 1e6)),
    ]))
}

fn times(factor: f64, value: Option<f64>) -> Option<f64> {
    value.map(|value| value * factor)
}

fn outcome<const N: usize>(values: [(Measure, Option<f64>); N]) -> Outcome {
    let present = values.into_iter().filter_map(|(measure, value)| Some((measure, value?)));
    Outcome { values: present.collect(), remark: None }
}
