//! The leader's Lease: asks the API server what `election` decides, from the Lease to whoever writes.
//! Invariant: a write runs only inside [`Leader::write`], which refuses it without leadership and drops it when the
//! Lease's local time is over, with a client of [`Leader::client`], which sends nothing after that; a Lease is released
//! only when no write is under way.

mod gate;
mod store;
#[cfg(test)]
mod tests;

use std::{future::Future, pin::pin, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::election::{Action, Answer, Candidate, Request, Terms};
use store::LeaseStore;

/// How long writes that are under way may go on when this process is told to stop.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// Which Lease, and on which terms.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    pub namespace: String,
    pub name: String,
    pub terms: Terms,
}

/// Why a write was not made, or not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    #[error("not leading: nothing was sent")]
    NotLeading,
    /// It may have been applied.
    #[error("leadership ended while the write was under way")]
    LeadershipEnded,
}

/// What this process may do. Cheap to clone; every clone says the same.
#[derive(Debug, Clone)]
pub struct Leader {
    leading: watch::Receiver<bool>,
    standing: watch::Receiver<Standing>,
    writes: TaskTracker,
    released: CancellationToken,
}

/// Until when; `None`: not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    lead_until: Option<Instant>,
    write_until: Option<Instant>,
}

/// Takes part in the election until `stop`, then gives the Lease back. Runs in a task of its own.
pub fn lead(client: Client, settings: LeaseSettings, stop: CancellationToken) -> Leader {
    let (leading, leading_watch) = watch::channel(false);
    let (standing, standing_watch) = watch::channel(Standing::default());
    let (writes, released) = (TaskTracker::new(), CancellationToken::new());
    let campaign = Campaign {
        candidate: Candidate::new(settings.terms.clone(), Instant::now().into_std()),
        request_timeout: settings.terms.request_timeout(),
        store: LeaseStore::new(client, settings),
        notice: Notice { leading, standing },
        writes: writes.clone(),
        _released: released.clone().drop_guard(),
    };
    tokio::spawn(campaign.run(stop));
    Leader { leading: leading_watch, standing: standing_watch, writes, released }
}

impl Leader {
    /// Follows whether this process leads.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Tells whether this process leads right now, by the clock.
    pub fn is_leading(&self) -> bool {
        self.standing.borrow().lead_until.is_some_and(|until| Instant::now() < until)
    }

    /// The time that no write begun now may outlive; `None` when not leading.
    pub fn write_deadline(&self) -> Option<Instant> {
        let standing = *self.standing.borrow();
        standing.write_until.filter(|_| self.is_leading())
    }

    /// Runs a write if this process leads, and for as long as the Lease's local time lasts, which renewals extend.
    pub async fn write<F: Future>(&self, write: F) -> Result<F::Output, WriteError> {
        let _under_way = self.writes.token();
        if !self.is_leading() {
            return Err(WriteError::NotLeading);
        }
        let mut standing = self.standing.clone();
        let mut write = pin!(write);
        loop {
            let deadline = standing.borrow_and_update().write_until.filter(|until| Instant::now() < *until);
            let Some(deadline) = deadline else { return Err(WriteError::LeadershipEnded) };
            tokio::select! {
                // A process that stood still looks at the clock before it sends anything.
                biased;
                () = sleep_until(deadline) => {}
                changed = standing.changed() => changed.map_err(|_| WriteError::LeadershipEnded)?,
                output = &mut write => return Ok(output),
            }
        }
    }

    /// Waits until the election is over: the Lease is given back, or it couldn't be.
    pub async fn released(&self) {
        self.released.cancelled().await;
    }
}

/// The task.
struct Campaign {
    store: LeaseStore,
    candidate: Candidate,
    request_timeout: Duration,
    notice: Notice,
    writes: TaskTracker,
    _released: DropGuard,
}

impl Campaign {
    async fn run(mut self, stop: CancellationToken) {
        let mut stopping = false;
        loop {
            if !stopping && stop.is_cancelled() {
                stopping = true;
                self.stand_down().await;
            }
            match self.candidate.step(Instant::now().into_std(), Timestamp::now()) {
                Action::Ask(request) => self.ask(request).await,
                Action::Wait(until) if stopping => sleep_until(until.into()).await,
                Action::Wait(until) => {
                    let rest = timeout_at(until.into(), stop.cancelled());
                    self.notice.during(&self.candidate, rest).await.ok();
                }
                Action::Done => break,
            }
        }
        tracing::info!("the election is over for this process");
    }

    async fn ask(&mut self, request: Request) {
        let asking = timeout(self.request_timeout, self.store.ask(request));
        let answer = self.notice.during(&self.candidate, asking).await.unwrap_or_else(|_| {
            tracing::warn!("the lease can't be read or written: no answer within {:?}", self.request_timeout);
            Answer::Failed
        });
        self.candidate.answer(answer, Instant::now().into_std());
        self.notice.give(&self.candidate);
    }

    /// Begins no further write, gives those under way a moment, and then holds nothing any more.
    async fn stand_down(&mut self) {
        self.notice.last_writes_until(Instant::now() + LAST_WRITES);
        self.writes.close();
        if timeout(LAST_WRITES * 2, self.writes.wait()).await.is_err() {
            tracing::warn!("a write is still under way: leadership ends all the same");
        }
        self.candidate.stop(Instant::now().into_std());
        self.notice.give(&self.candidate);
    }
}

/// Tells everybody who holds a [`Leader`].
struct Notice {
    leading: watch::Sender<bool>,
    standing: watch::Sender<Standing>,
}

impl Notice {
    fn give(&self, candidate: &Candidate) {
        let standing = Standing {
            lead_until: candidate.renew_deadline().map(Instant::from_std),
            write_until: candidate.write_deadline().map(Instant::from_std),
        };
        self.standing.send_if_modified(|current| std::mem::replace(current, standing) != standing);
        self.leads(candidate.is_leading(Instant::now().into_std()));
    }

    /// Waits for something and meanwhile says at once when leadership lapses.
    async fn during<F: Future>(&self, candidate: &Candidate, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            self.give(candidate);
            let lapse = candidate.renew_deadline().map(Instant::from_std).filter(|until| Instant::now() < *until);
            let lapsed = async {
                match lapse {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                output = &mut future => return output,
                () = lapsed => {}
            }
        }
    }

    fn last_writes_until(&self, limit: Instant) {
        self.standing.send_modify(|standing| {
            standing.lead_until = None;
            standing.write_until = standing.write_until.map(|until| until.min(limit));
        });
        self.leads(false);
    }

    fn leads(&self, leads: bool) {
        if self.leading.send_if_modified(|current| std::mem::replace(current, leads) != leads) {
            tracing::info!(leads, "leadership changed");
        }
    }
}
