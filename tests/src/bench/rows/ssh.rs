//! The rows about SSH: forwarders that reach the target through OpenSSH's server, whose CPU is not counted.
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};

use super::{Outcome, bulk_outcome, connect_outcome};
use crate::bench::forwarder::{Forwarder, Toolbox};
use crate::bench::load::entrance::Entrance;
use crate::bench::load::{Window, bulk, connect, idle};
use crate::bench::peer::{Peer, SSH_KEY, SSH_KNOWN_HOSTS, Way};
use crate::bench::target::{Echo, Source};
use crate::sshd::{self, Sshd};

pub(super) fn run_bulk(peer: Peer, toolbox: &Toolbox, connections: usize, window: Window) -> Result<Outcome> {
    let target = Source::start()?;
    let (forwarder, _sshd) = through(peer, toolbox, target.address())?;
    let entrance = Entrance::plain(forwarder.address);
    // The first connection logs in, which is none of the load.
    entrance.open()?.read_exact(&mut [0; 1]).context("the first connection")?;
    bulk_outcome(&bulk::run(&entrance, connections, window, &forwarder.meter)?)
}

pub(super) fn run_connect(peer: Peer, toolbox: &Toolbox, window: Window) -> Result<Outcome> {
    let target = Echo::start()?;
    let (forwarder, _sshd) = through(peer, toolbox, target.address())?;
    drop(idle::establish(forwarder.address, 1)?);
    Ok(connect_outcome(&connect::run(&Entrance::plain(forwarder.address), window, &forwarder.meter)?))
}

/// Starts a server, and a forwarder that goes through it.
fn through(peer: Peer, toolbox: &Toolbox, target: SocketAddrV4) -> Result<(Forwarder, Sshd)> {
    let sshd = Sshd::start().context("not measured: sshd is not installed")?;
    let key = std::fs::read_to_string(sshd.keys.path("id")).context("read the key")?;
    toolbox.entrust(SSH_KEY, &key)?;
    toolbox.entrust(SSH_KNOWN_HOSTS, &sshd.known_as("host"))?;
    let way = Way::SshHop { server: SocketAddrV4::new(Ipv4Addr::LOCALHOST, sshd.port), user: sshd::user() };
    Ok((toolbox.start_way(peer, way, &[target])?, sshd))
}
