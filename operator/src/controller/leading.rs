//! What only the leader does: brings each proxy's objects in line, keeps the connections to its pods, and the status of
//! its members. One task decides; writes run beside it, at most one for each proxy and each object at a time. This file
//! is that task's life; `reconcile` looks at a proxy, `documents` at what it runs, `status` at an object's status.

mod documents;
mod reconcile;
mod status;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Controller, TICK,
    caches::Change,
    index::ObjectName,
    jobs::Done,
    known::Known,
    moves::Partings,
    statuses,
    unseen::Unseen,
    vacancies::{Vacancies, Vacancy},
    writer::WriteError,
};
use crate::{
    authority::Identity,
    budget::Budget,
    events::Publisher,
    names::ProxyId,
    proxies::{self, Link, Proxies},
    queue::Queue,
};

/// Writes that run at once.
const JOBS_LIMIT: usize = 16;

/// The leader's state; it begins empty, and what matters is found again in the cluster and the reports.
pub(super) struct Leading {
    since: Instant,
    /// When the metrics were told how many there are of what.
    surveyed: Instant,
    /// Whether a PortForward has changed since they were counted.
    uncounted: bool,
    identity: watch::Receiver<Arc<Identity>>,
    proxies: Proxies,
    reports: proxies::Changes,
    work: Queue<ProxyId>,
    statuses: Queue<ObjectName>,
    budget: Budget,
    publisher: Arc<Publisher>,
    known: HashMap<ProxyId, Known>,
    vacancies: Vacancies,
    /// Statuses that were written and that the cache may not show yet.
    written: Unseen,
    /// When a report came that the status may not show yet.
    news: HashMap<ObjectName, Instant>,
    /// PortForwards that have just moved away from a proxy.
    partings: Partings,
    jobs: JoinSet<Done>,
}

/// Leads until leadership is lost or `stop`.
pub(super) async fn lead(
    controller: &mut Controller,
    changes: &mut mpsc::Receiver<Change>,
    leads: &mut watch::Receiver<bool>,
    stop: &CancellationToken,
) {
    let first = tokio::select! {
        first = controller.keeper.first() => first,
        // Another look at the lease decides whether to try again.
        _ = leads.changed() => return,
        () = stop.cancelled() => return,
    };
    let (identities, identity) = watch::channel(first.0);
    let keeping = AbortOnDropHandle::new(tokio::spawn(controller.keeper.clone().keep(identities, first.1)));
    Leading::begin(controller, identity).serve(controller, changes, leads, stop).await;
    drop(keeping);
}

impl Leading {
    fn begin(controller: &Controller, identity: watch::Receiver<Arc<Identity>>) -> Self {
        let now = Instant::now();
        let (proxies, reports) = Proxies::start(identity.clone());
        let publisher = Arc::new(Publisher::new(controller.writer.client.clone(), controller.options.identity.clone()));
        let mut leading = Self {
            since: now,
            surveyed: now,
            uncounted: true,
            identity,
            proxies,
            reports,
            work: Queue::default(),
            statuses: Queue::default(),
            budget: Budget::new(now),
            publisher,
            known: HashMap::new(),
            vacancies: Vacancies::new(controller.options.client.clone()),
            written: Unseen::default(),
            news: HashMap::new(),
            partings: Partings::default(),
            jobs: JoinSet::new(),
        };
        controller.every_proxy().into_iter().for_each(|id| leading.work.add(id, now));
        leading
    }

    /// Works until leadership is lost or `stop`; what is being written then is given up.
    async fn serve(
        &mut self,
        controller: &mut Controller,
        changes: &mut mpsc::Receiver<Change>,
        leads: &mut watch::Receiver<bool>,
        stop: &CancellationToken,
    ) {
        let mut identity = self.identity.clone();
        while *leads.borrow_and_update() {
            self.tell_metrics(controller);
            self.start_jobs(controller);
            let wake = self.wake(Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                _ = leads.changed() => {}
                change = changes.recv() => match change {
                    Some(change) => self.note(controller, change),
                    None => return,
                },
                id = self.reports.next() => self.hear(controller, &id),
                vacancy = self.vacancies.next() => self.claim(vacancy),
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.finish(controller, done),
                    Err(error) => tracing::error!(%error, "a write ended in a panic"),
                },
                changed = identity.changed() => if changed.is_ok() {
                    let now = Instant::now();
                    controller.every_proxy().into_iter().for_each(|id| self.work.add(id, now));
                },
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// When there is something to begin, if nothing else happens before.
    fn wake(&self, now: Instant) -> Instant {
        let far = now + TICK;
        if self.jobs.len() >= JOBS_LIMIT {
            return far;
        }
        let status = self.statuses.next_due().map(|due| due.max(self.budget.ready_at(now)));
        [self.work.next_due(), status].into_iter().flatten().fold(far, Instant::min)
    }

    fn tell_metrics(&mut self, controller: &Controller) {
        let telemetry = &controller.writer.telemetry;
        telemetry.tick();
        telemetry.queue_depth(self.work.len() + self.statuses.len());
        if self.surveyed.elapsed() < TICK {
            return;
        }
        self.surveyed = Instant::now();
        let views: Vec<_> = controller.pods.proxies().flat_map(|id| self.proxies.observe(id)).collect();
        let connected = views.iter().filter(|view| matches!(view.link, Link::Connected { .. })).count();
        telemetry.proxies(views.len(), connected);
        // Thousands are read for it: not while nothing changes.
        if std::mem::take(&mut self.uncounted) {
            telemetry.portforwards(statuses::counts(controller.caches.port_forwards.all()));
        }
    }

    fn note(&mut self, controller: &mut Controller, change: Change) {
        let now = Instant::now();
        if let Change::PortForward(name, proxy) = &change {
            self.uncounted = true;
            self.written.see(name, controller.caches.port_forwards.get(name).as_ref());
            match proxy {
                None => {
                    self.statuses.forget(name);
                    self.news.remove(name);
                }
                Some(proxy) if self.has_looked_at(controller, name, proxy) => {
                    // A status was written: ours, or what must not stay. It may say that a move has come to its end.
                    if controller.services.proxy_of(name).is_some_and(|serves| serves != proxy) {
                        self.work.add(proxy.clone(), now);
                    }
                    return self.statuses.add(name.clone(), now);
                }
                Some(_) => {}
            }
        }
        if let Change::Service(name, to) = &change
            && let Some(from) = controller.services.proxy_of(name).filter(|from| to.as_ref() != Some(from)).cloned()
        {
            self.partings.part(name.clone(), from, now);
        }
        if let Change::Pod(_, Some(proxy)) = &change {
            // It may have become ready since it was last tried in vain.
            self.proxies.hurry(proxy);
        }
        controller.note(change).into_iter().for_each(|id| self.work.add(id, now));
    }

    /// Whether nothing of a PortForward but its status has changed since its proxy was looked at last.
    fn has_looked_at(&self, controller: &Controller, name: &ObjectName, proxy: &ProxyId) -> bool {
        let object = controller.caches.port_forwards.get(name);
        let known = self.known.get(proxy).filter(|_| controller.members.proxy_of(name) == Some(proxy));
        object.zip(known).is_some_and(|(object, known)| known.has_looked_at(&object))
    }

    /// A proxy of these members has something new to say.
    fn hear(&mut self, controller: &Controller, id: &ProxyId) {
        let now = Instant::now();
        for name in controller.members.members(id) {
            self.news.entry(name.clone()).or_insert(now);
        }
        self.look_at_members(controller, id, now);
        self.overtake(id, now);
    }

    /// A name that was somebody else's is free.
    fn claim(&mut self, (id, child): Vacancy) {
        if let Some(known) = self.known.get_mut(&id) {
            known.taken.remove(&child);
            self.work.add(id, Instant::now());
        }
    }

    fn look_at_members(&mut self, controller: &Controller, id: &ProxyId, due: Instant) {
        controller.members.members(id).cloned().for_each(|name| self.statuses.add(name, due));
    }

    /// Begins what is due, proxies and statuses in turn: neither waits for thousands of the others.
    fn start_jobs(&mut self, controller: &Controller) {
        let (mut proxy_is_due, mut status_is_due) = (true, true);
        while self.jobs.len() < JOBS_LIMIT && (proxy_is_due || status_is_due) {
            let now = Instant::now();
            let proxy = self.work.pop(now);
            proxy_is_due = proxy.is_some();
            if let Some(id) = proxy {
                self.reconcile(controller, id, now);
            }
            // Nobody looks at statuses while none could be written.
            let status = if self.budget.ready_at(now) > now { None } else { self.statuses.pop(now) };
            status_is_due = status.is_some();
            if let Some(name) = status {
                self.write_status(controller, name, now);
            }
        }
    }

    fn finish(&mut self, controller: &Controller, done: Done) {
        let now = Instant::now();
        match done {
            Done::Proxy { id, outcomes } => self.finish_proxy(controller, id, outcomes, now),
            Done::Status { name, result } => {
                self.statuses.done(&name);
                match result {
                    Ok(written) => {
                        self.statuses.forget(&name);
                        let since = self.news.remove(&name).map(|since| now.saturating_duration_since(since));
                        controller.writer.telemetry.status_written(since);
                        self.written.keep(controller.caches.port_forwards.get(&name).as_ref(), name, written);
                    }
                    Err(WriteError::Gone | WriteError::Taken(_)) => {}
                    Err(error) => {
                        tracing::warn!(namespace = name.namespace, name = name.name, %error, "status not written");
                        self.statuses.backoff(name, now, rand::random());
                    }
                }
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
