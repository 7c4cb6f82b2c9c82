//! Hops over SSH: their nodes are reached by sessions that others may use as well. Of `forward+ssh` each connection is a
//! channel; others, such as `socks5+ssh`, are spoken to in channels.

use std::{sync::Arc, time::Instant};

use fairlead_config::HostPort;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::Hop;
use crate::{
    connect::Dialer,
    dial::{DialCause, DialError},
    group::Chosen,
    plan::{HopPlan, HopProtocol},
    protocol::Fault,
    report::{NodeStats, node_stats},
    secrets::Secrets,
    ssh::{self, Pool, Session, Sessions},
    stream::Stream,
};

/// The sessions of the last hop's nodes, if it has any; shared with whoever says the same up to there.
pub(super) fn sessions(path: &[HopPlan], pool: &Pool) -> Vec<(HostPort, Arc<Sessions>)> {
    let Some((last, before)) = path.split_last().filter(|(last, _)| last.settings.uses_ssh()) else {
        return Vec::new();
    };
    let before: Vec<_> = before.iter().map(|hop| (&hop.settings, &hop.nodes)).collect();
    // Settings name files and hold no secret.
    let key = |node: &HostPort| format!("{before:?} {:?} {node}", last.settings);
    last.nodes.iter().map(|node| (node.clone(), pool.sessions(&key(node)))).collect()
}

impl Hop {
    /// The counters of its nodes.
    pub(crate) fn stats(&self) -> Vec<NodeStats> {
        let mut stats = node_stats(Some(self.number), &self.group.nodes(), &self.group.report());
        for node in &mut stats {
            node.backlog = self.sessions_of(&node.address).map(|sessions| sessions.backlog());
        }
        stats
    }

    pub(super) fn is_ssh(&self) -> bool {
        self.settings().protocol == HopProtocol::Ssh
    }

    pub(super) fn ssh_papers(&self, secrets: &Secrets) -> Result<Arc<ssh::Papers>, DialCause> {
        let settings = self.settings();
        self.papers.papers(settings.credentials.as_ref(), &settings.ssh, secrets).map_err(DialCause::Credentials)
    }

    /// Has a node judged when a session falls silent that carries what is spoken to it.
    pub(super) fn note_use(&self, chosen: &Chosen) {
        if let Some(sessions) = self.sessions_of(&chosen.node.address) {
            sessions.are_used_by(chosen, self.number);
        }
    }

    fn sessions_of(&self, address: &HostPort) -> Option<&Arc<Sessions>> {
        self.sessions.iter().find(|(node, _)| node == address).map(|(_, sessions)| sessions)
    }

    /// A channel to one of its nodes, in which the hop is spoken to.
    pub(super) async fn carried(
        self: &Arc<Self>,
        dialer: &Dialer,
        address: &Arc<HostPort>,
    ) -> Result<Stream, DialError> {
        let mut is_anew = false;
        loop {
            let session = Arc::clone(self).session(dialer.clone(), Arc::clone(address)).await?;
            let asked = Instant::now();
            let opened = timeout(dialer.timeout, session.open_carrier(dialer.timeout)).await;
            match opened.unwrap_or_else(|_| Err(session.silence(asked, dialer.timeout))) {
                Ok(channel) => return Ok(Stream::Channel(Box::new(channel))),
                // It ended just before it was asked; that says nothing about the node.
                Err(_) if session.has_ended() && !is_anew => is_anew = true,
                Err(Fault::Hop(cause) | Fault::Address(cause)) => return Err(self.error(address, cause)),
            }
        }
    }

    /// A session to one of its nodes, perhaps one that others use as well.
    pub(super) async fn session(
        self: Arc<Self>,
        dialer: Dialer,
        address: Arc<HostPort>,
    ) -> Result<Arc<Session>, DialError> {
        let papers = self.ssh_papers(&dialer.secrets).map_err(|cause| self.error(&address, cause))?;
        let Some(sessions) = self.sessions_of(&address) else {
            return Err(self.error(&address, DialCause::Other("the node is no longer in the plan".to_owned())));
        };
        let (hop, shown) = (Arc::clone(&self), Arc::clone(&papers));
        let node = Arc::clone(&address);
        let begin = || -> BoxFuture<'static, Result<Arc<Session>, DialError>> {
            Box::pin(async move {
                let stream = hop.dialled(&dialer, &address).await?;
                let begin = Session::begin(stream, Arc::clone(&address), shown, &hop.settings().ssh);
                let begun = timeout(dialer.timeout, begin).await;
                let begun = begun.unwrap_or(Err(DialCause::Timeout(dialer.timeout)));
                begun.map_err(|cause| hop.error(&address, cause))
            })
        };
        sessions.session(&node, &papers, begin).await
    }
}
