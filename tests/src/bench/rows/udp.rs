//! The rows about datagrams: one client, many, a flood, and what they leave in memory.
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{MIB, Outcome, outcome, times};
use crate::bench::forwarder::Toolbox;
use crate::bench::load::{Window, datagrams, flood, sizes};
use crate::bench::measure::Measure;
use crate::bench::peer::{Peer, Way};
use crate::bench::target::DatagramEcho;
use crate::bench::{socket, tree};

/// Clients, and how many datagrams each has under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    clients: usize,
    under_way: usize,
}

pub(super) const ONE: Crowd = Crowd { clients: 1, under_way: 64 };
pub(super) const MANY: Crowd = Crowd { clients: 1000, under_way: 1 };

/// How busy clients are before what they left in memory is read.
const BUSY: Window = Window { warm_up: Duration::ZERO, measure: Duration::from_millis(500) };

pub(super) fn run_clients(peer: Peer, toolbox: &Toolbox, crowd: Crowd, window: Window) -> Result<Outcome> {
    let target = DatagramEcho::start()?;
    let forwarder = toolbox.start_way(peer, Way::Udp, &[target.address()])?;
    let clients = datagrams::open(forwarder.address, crowd.clients)?;
    let exchange = datagrams::run(&clients, crowd.under_way, window, &forwarder.meter)?;
    let figures = &exchange.figures;
    ensure!(figures.units > 0, "no datagram was answered");
    Ok(outcome([
        (Measure::RoundTripRate, Some(figures.rate())),
        (Measure::RoundTripCpu, times(1e6, figures.cpu_per_unit())),
        (Measure::Lost, Some(exchange.lost as f64 * 100.0 / exchange.sent as f64)),
    ]))
}

pub(super) fn run_flood(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let (target, address) = socket::bind_datagrams()?;
    let forwarder = toolbox.start_way(peer, Way::Udp, &[address])?;
    let figures = flood::run(forwarder.address, &target, window, &forwarder.meter)?;
    ensure!(figures.units > 0, "no datagram was delivered");
    Ok(outcome([
        (Measure::DeliveredRate, Some(figures.rate())),
        (Measure::DeliveredCpu, times(1e6, figures.cpu_per_unit())),
    ]))
}

pub(super) fn run_memory(peer: Peer, toolbox: &Toolbox) -> Result<Outcome> {
    let target = DatagramEcho::start()?;
    let forwarder = toolbox.start_way(peer, Way::Udp, &[target.address()])?;
    let root = forwarder.id().context("no process to look at")?;
    // What the first clients set up once does not count.
    let _first = datagrams::open(forwarder.address, 20)?;
    std::thread::sleep(Duration::from_millis(300));
    let before = tree::holdings(root)?;
    let clients = datagrams::open(forwarder.address, MANY.clients)?;
    datagrams::run(&clients, MANY.under_way, BUSY, &forwarder.meter)?;
    std::thread::sleep(Duration::from_millis(300));
    let after = tree::holdings(root)?;
    let altered = sizes::altered(forwarder.address)?;
    let mut outcome = outcome([
        (Measure::DatagramMemory, Some((after.anonymous as f64 - before.anonymous as f64) / MIB)),
        (Measure::Unaltered, Some(if altered.is_empty() { 1.0 } else { 0.0 })),
    ]);
    outcome.remark = (!altered.is_empty()).then(|| {
        let sizes: Vec<String> = altered.iter().map(ToString::to_string).collect();
        format!("not as they were sent, of the sizes tried: {} B", sizes.join(", "))
    });
    Ok(outcome)
}
