//! The recipes, one file each: accept → select → connect → copy.

pub(crate) mod local_tcp;
pub(crate) mod local_udp;
pub(crate) mod remote;
pub(crate) mod remote_tcp;
pub(crate) mod remote_udp;
pub(crate) mod server;

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use fairlead_config::{ForwardKey, HostPort, NodeReport};

use crate::{
    accept::{ServeControl, Trouble},
    engine::Context,
    plan::{ForwardPlan, Recipe},
    report::ForwardStats,
};
use local_tcp::LocalTcp;
use local_udp::LocalUdp;
use remote::Standing;
use remote_tcp::RemoteTcp;
use remote_udp::RemoteUdp;
use server::Server;

/// A running forward, by its recipe.
pub(crate) enum Forwarding {
    LocalTcp(LocalTcp),
    LocalUdp(LocalUdp),
    Server(Server),
    RemoteTcp(RemoteTcp),
    RemoteUdp(RemoteUdp),
}

impl Forwarding {
    /// Listens and starts to serve. The error is the listener's.
    pub(crate) fn start(key: &ForwardKey, plan: &ForwardPlan, context: &Context) -> io::Result<Self> {
        match plan.recipe {
            Recipe::LocalTcp => LocalTcp::start(key, plan, context).map(Self::LocalTcp),
            Recipe::LocalUdp { ttl } => LocalUdp::start(key, plan, ttl, context).map(Self::LocalUdp),
            Recipe::Server(protocol) => Server::start(key, plan, protocol, context).map(Self::Server),
            Recipe::RemoteTcp { way } => Ok(Self::RemoteTcp(RemoteTcp::start(key, plan, way, context))),
            Recipe::RemoteUdp { ttl } => Ok(Self::RemoteUdp(RemoteUdp::start(key, plan, ttl, context))),
        }
    }

    /// Takes a new plan with the same recipe and listener; who is served already goes on as before.
    pub(crate) fn update(&mut self, plan: &ForwardPlan, context: &Context) {
        match (self, plan.recipe) {
            (Self::LocalTcp(forward), Recipe::LocalTcp) => forward.update(plan, context),
            (Self::LocalUdp(forward), Recipe::LocalUdp { ttl }) => forward.update(plan, ttl, context),
            (Self::Server(forward), Recipe::Server(protocol)) => forward.update(plan, protocol, context),
            (Self::RemoteTcp(forward), Recipe::RemoteTcp { .. }) => forward.update(plan, context),
            (Self::RemoteUdp(forward), Recipe::RemoteUdp { ttl }) => forward.update(plan, ttl),
            // The difference of the plans has made these a stop and a start.
            (Self::LocalTcp(_) | Self::LocalUdp(_) | Self::Server(_) | Self::RemoteTcp(_) | Self::RemoteUdp(_), _) => {}
        }
    }

    /// Takes no further clients; who is served already goes on until it ends or `abort`.
    pub(crate) fn stop(&mut self) -> Arc<ServeControl> {
        match self {
            Self::LocalTcp(forward) => forward.stop(),
            Self::LocalUdp(forward) => forward.stop(),
            Self::Server(forward) => forward.stop(),
            Self::RemoteTcp(forward) => forward.stop(),
            Self::RemoteUdp(forward) => forward.stop(),
        }
    }

    /// The nodes and how they fare.
    pub(crate) fn nodes(&self) -> Vec<NodeReport> {
        match self {
            Self::LocalTcp(forward) => forward.nodes(),
            Self::LocalUdp(forward) => forward.nodes(),
            Self::Server(forward) => forward.nodes(),
            Self::RemoteTcp(forward) => forward.nodes(),
            Self::RemoteUdp(forward) => forward.nodes(),
        }
    }

    /// What keeps it from serving as it should, in one line.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::LocalTcp(forward) => forward.trouble(),
            Self::LocalUdp(forward) => forward.trouble(),
            Self::Server(forward) => forward.trouble(),
            Self::RemoteTcp(forward) => forward.trouble(),
            Self::RemoteUdp(forward) => forward.trouble(),
        }
    }

    /// What its files lack, without which no client is served, in one line.
    pub(crate) fn lack(&self) -> Option<String> {
        match self {
            Self::LocalTcp(forward) => forward.lack(),
            Self::LocalUdp(forward) => forward.lack(),
            Self::Server(forward) => forward.lack(),
            Self::RemoteTcp(forward) => forward.lack(),
            Self::RemoteUdp(forward) => forward.lack(),
        }
    }

    /// Whether a port at a far end is held; none where the listener is here.
    pub(crate) fn standing(&self) -> Option<Arc<Standing>> {
        match self {
            Self::LocalTcp(_) | Self::LocalUdp(_) | Self::Server(_) => None,
            Self::RemoteTcp(forward) => Some(forward.standing()),
            Self::RemoteUdp(forward) => Some(forward.standing()),
        }
    }

    /// The counters as they stand.
    pub(crate) fn stats(&self, key: &ForwardKey) -> ForwardStats {
        match self {
            Self::LocalTcp(forward) => forward.stats(key),
            Self::LocalUdp(forward) => forward.stats(key),
            Self::Server(forward) => forward.stats(key),
            Self::RemoteTcp(forward) => forward.stats(key),
            Self::RemoteUdp(forward) => forward.stats(key),
        }
    }
}

/// What keeps a listener for streams from accepting as it should, in one line.
fn accept_trouble(control: &ServeControl) -> Option<String> {
    let line = match control.trouble() {
        Trouble::None => return None,
        Trouble::AtLimit => "maxConnections are open; further clients wait until one ends",
        Trouble::OutOfDescriptors => {
            "out of file descriptors; further clients wait until a connection ends: raise the limit (ulimit -n)"
        }
        Trouble::OutOfMemory => "out of memory for sockets; accepting is slowed down",
        Trouble::NoUpstream => {
            "this host lacks descriptors, memory or source ports for connections to targets; further clients wait"
        }
        Trouble::AcceptFailed => "the system refuses to accept; see the log",
    };
    Some(line.to_owned())
}

/// The address to bind for a listener; an empty host is every address, IPv6 included where the system has it.
fn listening_address(address: &HostPort) -> io::Result<SocketAddr> {
    if address.host.is_empty() {
        return Ok((Ipv6Addr::UNSPECIFIED, address.port).into());
    }
    let mut found: Vec<SocketAddr> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    Ok(*first)
}
