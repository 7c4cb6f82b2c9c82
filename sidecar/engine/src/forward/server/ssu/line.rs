//! One client's way to everybody, from an ssu server: a task that opens an outlet when there is something to send, and
//! another when that was lost and there is something again, so that the client's association outlives it.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use tokio::sync::mpsc;

use super::{Answer, Parcel};
use crate::{
    accept::Trouble,
    association::Client,
    dial::DialCause,
    forward::{
        local_udp::Outage,
        server::{
            outlet::{Outlet, Unopened},
            session::Session,
        },
    },
    protocol::ClientFault,
    stats::Dropped,
};

/// The task's end of an association.
pub(super) struct Line {
    pub(super) session: Session,
    pub(super) client: Client,
    pub(super) parcels: mpsc::Receiver<Parcel>,
    pub(super) answers: mpsc::Sender<Answer>,
}

impl Line {
    /// Carries until the association has ended.
    pub(super) async fn run(mut self) {
        let session = self.session.clone();
        let mut outage = Outage::default();
        while let Some((to, datagram)) = self.parcels.recv().await {
            let began = Instant::now();
            let cause = match Outlet::open(&session).await {
                Ok(mut outlet) => {
                    outlet.send(&to, &datagram).await;
                    let Err(fault) = self.carry(outlet).await else { return };
                    tracing::trace!(forward = %session.shared.key, %fault, "an association's way has ended");
                    outage.is_over_after(began);
                    DialCause::Other(fault.to_string())
                }
                Err(why) => {
                    session.datagrams().drop(Dropped::NoNode, 1);
                    self.complain(why)
                }
            };
            outage.rest(began, &cause).await;
        }
    }

    /// Returns without an error when the association has ended.
    async fn carry(&mut self, mut outlet: Outlet<'_>) -> Result<(), ClientFault> {
        loop {
            tokio::select! {
                parcel = self.parcels.recv() => match parcel {
                    Some((to, datagram)) => outlet.send(&to, &datagram).await,
                    None => return Ok(()),
                },
                answer = outlet.next() => {
                    let (from, datagram) = answer?;
                    if self.answers.send(Answer { client: self.client, from, datagram }).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Says why there is no way.
    fn complain(&self, why: Unopened) -> DialCause {
        let shared = &self.session.shared;
        shared.clients.unserved.fetch_add(1, Relaxed);
        if matches!(why, Unopened::Io(_)) && shared.control.raise(Trouble::NoUpstream, tokio::time::Instant::now()) {
            tracing::warn!(forward = %shared.key, error = %why, "no socket for an association");
        } else {
            tracing::debug!(forward = %shared.key, error = %why, "no way for an association");
        }
        match why {
            Unopened::Hop(error) => error.cause,
            Unopened::Unfit | Unopened::Io(_) => DialCause::Other(why.to_string()),
        }
    }
}
