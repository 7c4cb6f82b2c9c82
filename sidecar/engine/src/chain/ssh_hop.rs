//! A hop `forward+ssh`: its nodes are reached by sessions that others may use as well, and each connection is a channel.

use std::sync::Arc;

use fairlead_config::HostPort;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::Hop;
use crate::{
    connect::Dialer,
    dial::{DialCause, DialError},
    plan::{HopPlan, HopProtocol},
    report::{NodeStats, node_stats},
    secrets::Secrets,
    ssh::{self, Pool, Session, Sessions},
    stream::Stream,
};

/// The sessions of the last hop's nodes, if it has any; shared with whoever says the same up to there.
pub(super) fn sessions(path: &[HopPlan], pool: &Pool) -> Vec<(HostPort, Arc<Sessions>)> {
    let Some((last, before)) = path.split_last().filter(|(last, _)| last.settings.protocol == HopProtocol::Ssh) else {
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
            let sessions = self.sessions.iter().find(|(address, _)| *address == node.address);
            node.backlog = sessions.map(|(_, sessions)| sessions.backlog());
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

    /// A session to one of its nodes, perhaps one that others use as well.
    pub(super) async fn session(self: Arc<Self>, dialer: Dialer, address: Arc<HostPort>) -> Result<Stream, DialError> {
        let papers = self.ssh_papers(&dialer.secrets).map_err(|cause| self.error(&address, cause))?;
        let Some((node, sessions)) = self.sessions.iter().find(|(node, _)| *node == *address) else {
            return Err(self.error(&address, DialCause::Other("the node is no longer in the plan".to_owned())));
        };
        let (hop, shown) = (Arc::clone(&self), Arc::clone(&papers));
        let begin = || -> BoxFuture<'static, Result<Arc<Session>, DialError>> {
            Box::pin(async move {
                let stream = hop.dialled(&dialer, &address).await?;
                let begin = Session::begin(stream, Arc::clone(&address), shown, &hop.settings().ssh);
                let begun = timeout(dialer.timeout, begin).await;
                let begun = begun.unwrap_or(Err(DialCause::Timeout(dialer.timeout)));
                begun.map_err(|cause| hop.error(&address, cause))
            })
        };
        sessions.session(node, &papers, begin).await.map(Stream::Session)
    }
}
