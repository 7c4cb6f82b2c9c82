//! A chain: the hops that targets are dialled through. `connect` asks `reach` for each target; each hop is a group with
//! a selector of its own, and its nodes are dialled through the hops before it, in the same way.
//!
//! Who is marked: a hop's node that can't be reached or whose handshake fails, and no other; a node or target that the
//! hop before it can't connect to, or not in time. Nothing is judged by what lies before or behind it.

mod bind;
mod chained;
mod hop;
mod pulse;
mod ssh_hop;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use fairlead_config::HostPort;
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::{
    changes::Changes,
    connect::{Dialer, connect},
    dial::{DialCause, DialError, dial, watch, watch_idle},
    group::Chosen,
    plan::HopPlan,
    protocol::{Fault, socks5::Command},
    selector::Ticket,
    socket::Socket,
    ssh::Pool,
    stream::Stream,
};
pub(crate) use bind::{BindError, Bound, Greeted, bind, greet, listen};
pub(crate) use chained::Chained;
pub(crate) use hop::Hop;
pub(crate) use pulse::Debt;

/// What is gone through to reach an address.
#[derive(Clone)]
pub(crate) struct Path {
    hops: Arc<[Arc<Hop>]>,
    /// How many of them.
    through: usize,
    /// Whether what is dialled is a node of the next hop, and not a target.
    to_hop: bool,
    /// Whether a peer that vanished must be noticed soon.
    watched: bool,
    /// Whether a connection waits for hours, so that a peer that vanished must be found out.
    waits: bool,
}

/// What a hop is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A connection to the address.
    Connect,
    /// A tunnel for datagrams to and from the address; of relay hops.
    Datagrams,
    /// Another command of SOCKS5, and the address that goes with it.
    Command(Command),
}

/// A hop that did what it was asked for.
pub(crate) struct Asked {
    pub(crate) stream: Stream,
    /// The address in a SOCKS5 reply.
    pub(crate) bound: Option<HostPort>,
    /// The hop's node that did it.
    pub(crate) node: Chosen,
}

impl Ask {
    /// Other commands reach no target, so that none can be to blame.
    fn blame(self, fault: Fault) -> Fault {
        match (self, fault) {
            (Self::Command(_), Fault::Address(cause) | Fault::Hop(cause)) => Fault::Hop(cause),
            (Self::Connect | Self::Datagrams, fault) => fault,
        }
    }
}

/// Makes the hops of a plan; one that is in force already keeps what is known of its nodes.
pub(crate) fn hops(plans: &[HopPlan], old: &[Arc<Hop>], name: &str, changes: &Changes, pool: &Pool) -> Arc<[Arc<Hop>]> {
    let hop = |index: usize| Arc::new(Hop::new(&plans[..=index], old.get(index), name, changes, pool));
    (0..plans.len()).map(hop).collect()
}

/// Dials an address on the dialer's path, and greets it if it is a hop's node.
pub(crate) fn reach(dialer: Dialer, address: Arc<HostPort>) -> BoxFuture<'static, Result<Stream, DialError>> {
    match (dialer.path.through, dialer.path.greeted().cloned()) {
        (0, None) => Box::pin(async move { first(&dialer, address).await }),
        (_, None) => Box::pin(async move { through(&dialer, &address).await }),
        (_, Some(hop)) if hop.is_ssh() => {
            Box::pin(async move { hop.session(dialer, address).await.map(Stream::Session) })
        }
        (_, Some(hop)) => Box::pin(async move {
            let wrong = |cause| hop.error(&address, cause);
            // Before anything is dialled: without a login there is nothing to be said.
            let login = hop.login(&dialer.secrets).map_err(wrong)?;
            let stream = match hop.settings().is_over_ssh {
                true => hop.carried(&dialer, &address).await?,
                false => hop.dialled(&dialer, &address).await?,
            };
            let greeted = timeout(dialer.timeout, hop.greet(stream, &address.host, login.as_ref(), &dialer.secrets));
            greeted.await.unwrap_or(Err(DialCause::Timeout(dialer.timeout))).map_err(wrong)
        }),
    }
}

/// Dials what no hop is before.
async fn first(dialer: &Dialer, address: Arc<HostPort>) -> Result<Stream, DialError> {
    let socket = dial(address, dialer.timeout, Arc::clone(&dialer.resolver)).await?;
    dialer.path.keep_awake(&socket);
    Ok(Stream::Tcp(socket))
}

/// Asks the last hop of the path for an address.
async fn through(dialer: &Dialer, address: &HostPort) -> Result<Stream, DialError> {
    ask(dialer, address, Ask::Connect).await.map(|asked| asked.stream)
}

/// Asks the last hop of the path, by one of its nodes after the other while they are at fault.
pub(crate) async fn ask(dialer: &Dialer, address: &HostPort, ask: Ask) -> Result<Asked, DialError> {
    let of_address = |cause| DialError { hop: dialer.path.level(), ..DialError::new(address.clone(), cause) };
    let Some((hop, below)) = dialer.to_last_hop() else {
        return Err(of_address(DialCause::Other("the path has no hop".to_owned())));
    };
    let mut ticket = Ticket::default();
    let mut failure = None;
    let mut is_anew = false;
    loop {
        let link = match connect(&hop.group, &below, &hop.counters, &mut ticket).await {
            Ok(link) => link,
            Err(error) => {
                let error = error.or(failure);
                return Err(error.unwrap_or_else(|| of_address(DialCause::Other("the hop has no node".to_owned()))));
            }
        };
        let (stream, judged) = link.taken();
        let session = stream.session();
        if let Some(session) = &session {
            session.is_used_by(judged.chosen(), hop.number);
        } else if hop.settings().is_over_ssh {
            hop.note_use(&judged.chosen());
        }
        let begun = Instant::now();
        let asked = timeout(dialer.timeout, hop.request(stream, address, ask, dialer)).await;
        let silence = || match &session {
            Some(session) => session.silence(begun, dialer.timeout),
            None => Fault::Address(DialCause::Timeout(dialer.timeout)),
        };
        match asked.unwrap_or_else(|_| Err(silence())).map_err(|fault| ask.blame(fault)) {
            // It ended just before it was asked; that says nothing about the node.
            Err(Fault::Hop(_)) if !is_anew && session.is_some_and(|session| session.has_ended()) => {
                is_anew = true;
                ticket.start_over();
            }
            Ok((mut stream, bound)) => {
                judged.node.counters.connections.fetch_add(1, Relaxed);
                if let Stream::Late(late) = &mut stream {
                    late.on_refusal(mark_faulty(judged.chosen(), hop.number));
                }
                let node = judged.chosen();
                judged.answered();
                return Ok(Asked { stream, bound, node });
            }
            Err(Fault::Address(cause)) => {
                judged.answered();
                return Err(of_address(cause));
            }
            Err(Fault::Hop(cause)) => {
                let error = hop.error(&judged.node.address, cause);
                judged.failed(&error);
                failure = Some(error);
            }
        }
    }
}

/// Asks the last hop to carry datagrams to and from anywhere (0xF3).
pub(crate) async fn tunnel(dialer: &Dialer) -> Result<Asked, DialError> {
    ask(dialer, &HostPort::new("0.0.0.0", 0), Ask::Command(Command::UdpTunnel)).await
}

/// Marks a node that the hop before it says late it can't connect to.
pub(crate) fn mark_refused(chosen: Chosen, level: Option<u32>) -> impl FnOnce(&Fault) + Send + Sync {
    let began = Instant::now();
    move |fault| {
        if let Fault::Address(cause) = fault {
            let node = (*chosen.node.address).clone();
            chosen.dialing(began).failed(&DialError { hop: level, ..DialError::new(node, cause.clone()) });
        }
    }
}

/// Marks a node of a hop that says late that it is itself at fault.
fn mark_faulty(chosen: Chosen, number: u32) -> impl FnOnce(&Fault) + Send + Sync {
    let began = Instant::now();
    move |fault| {
        if let Fault::Hop(cause) = fault {
            let node = (*chosen.node.address).clone();
            chosen.dialing(began).failed(&DialError { hop: Some(number), ..DialError::new(node, cause.clone()) });
        }
    }
}

impl Path {
    /// To targets, through all hops.
    pub(crate) fn whole(hops: Arc<[Arc<Hop>]>) -> Self {
        Self { through: hops.len(), hops, to_hop: false, watched: false, waits: false }
    }

    /// Through all hops, for connections that wait for hours, such as to where the last hop listens: a first hop that
    /// vanished is noticed within 45 s while nothing is on its way to it.
    pub(crate) fn waiting(hops: Arc<[Arc<Hop>]>) -> Self {
        Self { waits: true, ..Self::whole(hops) }
    }

    /// Has the system ask often whether the peer is still there.
    fn keep_awake(&self, socket: &Socket) {
        if self.watched {
            watch(socket);
        } else if self.waits {
            watch_idle(socket);
        }
    }

    /// Through all hops, for datagrams: a first hop that vanished is noticed within 45 s.
    pub(crate) fn watched(hops: Arc<[Arc<Hop>]>) -> Self {
        Self { watched: true, ..Self::whole(hops) }
    }

    /// The last hop.
    pub(crate) fn last(&self) -> Option<&Arc<Hop>> {
        self.hops.last()
    }

    /// The number of the hop whose nodes are dialled; none for targets.
    pub(crate) fn level(&self) -> Option<u32> {
        self.greeted().map(|hop| hop.number)
    }

    fn greeted(&self) -> Option<&Arc<Hop>> {
        self.hops.get(self.through).filter(|_| self.to_hop)
    }

    /// The last hop, and the path to its nodes.
    fn to_last_hop(&self) -> Option<(Arc<Hop>, Self)> {
        let through = self.through.checked_sub(1)?;
        let hop = Arc::clone(self.hops.get(through)?);
        Some((
            hop,
            Self { hops: Arc::clone(&self.hops), through, to_hop: true, watched: self.watched, waits: self.waits },
        ))
    }
}

impl Dialer {
    fn to_last_hop(&self) -> Option<(Arc<Hop>, Self)> {
        let (hop, path) = self.path.to_last_hop()?;
        let timeout = hop.plan.dial_timeout;
        Some((hop, Self { path, timeout, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests;
