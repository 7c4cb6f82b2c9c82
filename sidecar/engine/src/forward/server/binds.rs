//! Ports that clients of a server listen on. Whoever has one keeps it, backlog and all, for a moment after a peer was
//! handed over, so that nobody is refused before the next request; meanwhile nobody else gets it.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::accept::listen;

/// How long a port waits for its client's next request.
pub(super) const KEPT: Duration = Duration::from_secs(5);
/// Ports that the clients of one server hold at a time, and those of one client.
const LIMIT: usize = 1_024;
const LIMIT_EACH: usize = 128;

/// Who holds a port: the user and the address it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: Option<Arc<str>>,
    pub(super) ip: IpAddr,
}

/// The ports of one server's clients.
#[derive(Debug, Default)]
pub(super) struct Binds(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Those of clients that are there.
    used: Vec<Owner>,
    kept: Vec<Kept>,
    closed: bool,
}

/// A port whose client is to come back.
#[derive(Debug)]
struct Kept {
    owner: Owner,
    asked: SocketAddr,
    listener: TcpListener,
    until: Instant,
}

/// A client's place among those that hold ports; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    owner: Owner,
    of: Arc<Binds>,
}

/// A port that a client listens on.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    asked: SocketAddr,
    place: Place,
}

impl Binds {
    /// Takes a place for something that listens.
    pub(super) fn enter(self: &Arc<Self>, owner: Owner) -> io::Result<Place> {
        let mut held = self.held();
        let of_owner = held.used.iter().filter(|other| **other == owner).count();
        if held.closed || held.used.len() + held.kept.len() >= LIMIT || of_owner >= LIMIT_EACH {
            return Err(io::Error::other("too many ports are listened on"));
        }
        held.used.push(owner.clone());
        Ok(Place { owner, of: Arc::clone(self) })
    }

    /// Listens on the address, or goes on where the same client left off. The error is the system's, or of the limits.
    pub(super) fn bind(self: &Arc<Self>, owner: Owner, asked: SocketAddr, now: Instant) -> io::Result<Bound> {
        let kept = self.resume(&owner, asked, now);
        let place = self.enter(owner)?;
        let listener = kept.map_or_else(|| listen(asked), Ok)?;
        Ok(Bound { listener, asked, place })
    }

    fn resume(&self, owner: &Owner, asked: SocketAddr, now: Instant) -> Option<TcpListener> {
        let mut held = self.held();
        held.kept.retain(|kept| kept.until > now);
        let is_its = |kept: &Kept| {
            let port = kept.listener.local_addr().map(|address| address.port()).unwrap_or_default();
            let is_same = kept.asked == asked || (kept.asked.ip() == asked.ip() && port == asked.port());
            kept.owner == *owner && is_same
        };
        let index = held.kept.iter().position(is_its)?;
        Some(held.kept.swap_remove(index).listener)
    }

    /// Gives up the ports whose clients did not come back in time.
    pub(super) fn forget(&self, now: Instant) {
        self.held().kept.retain(|kept| kept.until > now);
    }

    /// Gives up every port that waits, and keeps none from now on.
    pub(super) fn close(&self) {
        let mut held = self.held();
        held.closed = true;
        held.kept.clear();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bound {
    /// Keeps the port for the client's next request.
    pub(super) fn keep(self, now: Instant) {
        let Self { listener, asked, place } = self;
        let mut held = place.of.held();
        if !held.closed && held.used.len() + held.kept.len() <= LIMIT {
            held.kept.push(Kept { owner: place.owner.clone(), asked, listener, until: now + KEPT });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.of.held();
        if let Some(index) = held.used.iter().position(|owner| *owner == self.owner) {
            held.used.swap_remove(index);
        }
    }
}

/// Every address is those of IPv6, too.
pub(super) fn every_family(asked: SocketAddr) -> SocketAddr {
    if asked.ip().is_unspecified() { (Ipv6Addr::UNSPECIFIED, asked.port()).into() } else { asked }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn owner(user: &str, ip: &str) -> Owner {
        Owner { user: Some(user.into()), ip: ip.parse().unwrap() }
    }

    fn port(bound: &Bound) -> SocketAddr {
        bound.listener.local_addr().unwrap()
    }

    #[test]
    fn a_port_waits_for_its_own_client_alone_and_not_for_ever() {
        let (binds, now) = (Arc::<Binds>::default(), Instant::now());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = binds.bind(owner("ann", "10.0.0.1"), any, now).unwrap();
        let address = port(&first);
        for other in [owner("ann", "10.0.0.1"), owner("bob", "10.0.0.1")] {
            assert!(binds.bind(other, address, now).is_err(), "taken");
        }
        first.keep(now);
        for other in [owner("bob", "10.0.0.1"), owner("ann", "10.0.0.2")] {
            assert!(binds.bind(other, address, now).is_err(), "kept for ann");
        }
        let again = binds.bind(owner("ann", "10.0.0.1"), any, now + KEPT / 2).unwrap();
        assert_eq!(port(&again), address, "the far end chooses the same again");
        again.keep(now);
        drop(binds.bind(owner("ann", "10.0.0.1"), address, now).unwrap());
        let bobs = binds.bind(owner("bob", "10.0.0.1"), address, now).unwrap();
        bobs.keep(now);
        binds.forget(now + KEPT);
        drop(binds.bind(owner("ann", "10.0.0.1"), address, now).unwrap());
    }

    #[test]
    fn one_client_leaves_ports_for_others() {
        let binds = Arc::<Binds>::default();
        let places: Vec<_> = (0..LIMIT_EACH).map(|_| binds.enter(owner("ann", "::1")).unwrap()).collect();
        assert!(binds.enter(owner("ann", "::1")).is_err());
        assert!(binds.enter(owner("bob", "::1")).is_ok());
        drop(places);
        assert!(binds.enter(owner("ann", "::1")).is_ok());
        binds.close();
        assert!(binds.enter(owner("bob", "::1")).is_err());
    }
}
