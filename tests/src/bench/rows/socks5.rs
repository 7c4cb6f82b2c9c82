//! The rows about SOCKS5: forwarders whose chain has one hop, and servers that clients speak SOCKS5 to.
//! A hop's CPU is not counted; without a forwarder, clients speak SOCKS5 to it themselves.
use std::net::SocketAddrV4;

use anyhow::{Context, Result};

use super::{Outcome, bulk_outcome, connect_outcome};
use crate::bench::forwarder::{Forwarder, Toolbox};
use crate::bench::load::entrance::Entrance;
use crate::bench::load::{Window, bulk, connect};
use crate::bench::peer::{Peer, Way};
use crate::bench::target::{Echo, Source};

/// Connections that carry bulk at once.
const CONNECTIONS: usize = 64;

pub(super) fn run_hop_bulk(hop: Peer, peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Source::start()?;
    let hop = start_hop(hop, toolbox)?;
    let (forwarder, entrance) = through(&hop, peer, toolbox, target.address())?;
    bulk_outcome(&bulk::run(&entrance, CONNECTIONS, window, &forwarder.meter)?)
}

pub(super) fn run_hop_connect(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Echo::start()?;
    let hop = start_hop(Peer::Microsocks, toolbox)?;
    let (forwarder, entrance) = through(&hop, peer, toolbox, target.address())?;
    Ok(connect_outcome(&connect::run(&entrance, window, &forwarder.meter)?))
}

pub(super) fn run_server_bulk(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Source::start()?;
    let (server, entrance) = served(peer, toolbox, target.address())?;
    bulk_outcome(&bulk::run(&entrance, CONNECTIONS, window, &server.meter)?)
}

pub(super) fn run_server_connect(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Echo::start()?;
    let (server, entrance) = served(peer, toolbox, target.address())?;
    Ok(connect_outcome(&connect::run(&entrance, window, &server.meter)?))
}

fn start_hop(hop: Peer, toolbox: &Toolbox) -> Result<Forwarder> {
    toolbox.program(hop).map_err(anyhow::Error::msg)?;
    toolbox.start_way(hop, Way::Socks5Server, &[]).context("the hop")
}

/// Starts a forwarder whose chain is the hop, and says how clients come through it.
fn through(hop: &Forwarder, peer: Peer, toolbox: &Toolbox, target: SocketAddrV4) -> Result<(Forwarder, Entrance)> {
    let forwarder = toolbox.start_way(peer, Way::Socks5Hop(hop.address), &[target])?;
    let entrance =
        if peer == Peer::Direct { Entrance::socks5(hop.address, target) } else { Entrance::plain(forwarder.address) };
    Ok((forwarder, entrance))
}

/// Starts a server, and says how clients come through it.
fn served(peer: Peer, toolbox: &Toolbox, target: SocketAddrV4) -> Result<(Forwarder, Entrance)> {
    if peer == Peer::Direct {
        let forwarder = toolbox.start(peer, &[target])?;
        return Ok((forwarder, Entrance::plain(target)));
    }
    let server = toolbox.start_way(peer, Way::Socks5Server, &[])?;
    let entrance = Entrance::socks5(server.address, target);
    Ok((server, entrance))
}
