//! What only the leader does: brings each proxy's objects in line, keeps the connections to its pods, and the status of
//! its members. One task decides; writes run beside it, at most one for each proxy and each object at a time.

mod documents;
mod status;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fairlead_api::PortForward;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Controller, TICK,
    caches::Change,
    child::{ChildKind, Write},
    children::{Present, Proxy},
    index::ObjectName,
    jobs::{Done, Outcome, write_all},
    known::{Judgement, Known},
    pods::PodFacts,
    settlement::{self, InForce},
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
    proxies::{self, Assignment, Link, Proxies},
    queue::Queue,
    telemetry::ReconcileResult,
};

/// Writes that run at once.
const JOBS_LIMIT: usize = 16;

/// The leader's state; it begins empty, and what matters is found again in the cluster and the reports.
pub(super) struct Leading {
    since: Instant,
    /// When the metrics were told how many there are of what.
    surveyed: Instant,
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
        let objects = controller.caches.port_forwards.all();
        telemetry.portforwards(statuses::counts(objects.iter().map(|object| &**object)));
    }

    fn note(&mut self, controller: &mut Controller, change: Change) {
        let now = Instant::now();
        if let Change::PortForward(name, proxy) = &change {
            self.written.see(name, controller.caches.port_forwards.get(name).as_deref());
            match proxy {
                None => {
                    self.statuses.forget(name);
                    self.news.remove(name);
                }
                Some(proxy) if self.has_looked_at(controller, name, proxy) => {
                    // A status was written: ours, or what must not stay.
                    return self.statuses.add(name.clone(), now);
                }
                Some(_) => {}
            }
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
        if self.overtake(id, now) {
            self.work.add(id.clone(), now);
        }
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

    fn start_jobs(&mut self, controller: &Controller) {
        while self.jobs.len() < JOBS_LIMIT {
            let now = Instant::now();
            if let Some(id) = self.work.pop(now) {
                self.reconcile(controller, id, now);
            } else if self.budget.ready_at(now) > now {
                // Thousands may wait: nobody looks at them while none could be written.
                return;
            } else if let Some(name) = self.statuses.pop(now) {
                self.write_status(controller, name, now);
            } else {
                return;
            }
        }
    }

    /// Looks at one proxy as a whole, and begins what is to be written.
    #[tracing::instrument(name = "reconcile", skip_all, fields(proxy = %id))]
    fn reconcile(&mut self, controller: &Controller, id: ProxyId, now: Instant) {
        let began = Instant::now();
        let members = controller.members_of(&id);
        let writes =
            if members.is_empty() { self.leave(controller, &id) } else { self.settle(controller, &id, &members, now) };
        let result = if writes.is_ok() { ReconcileResult::Done } else { ReconcileResult::Failed };
        controller.writer.telemetry.reconciled(result, began.elapsed());
        match writes {
            Ok(writes) if writes.is_empty() => {
                self.work.done(&id);
                self.work.forget(&id);
            }
            Ok(writes) => {
                let writer = controller.writer.clone();
                self.jobs.spawn(write_all(writer, id, writes));
            }
            Err(error) => {
                tracing::error!(proxy = %id, %error, "can't be rendered");
                self.work.done(&id);
                self.work.backoff(id, now, rand::random());
            }
        }
    }

    /// A proxy without members: whatever its former members left behind goes.
    fn leave(&mut self, controller: &Controller, id: &ProxyId) -> anyhow::Result<Vec<(Write, Option<InForce>)>> {
        self.vacancies.follow(id, std::iter::empty());
        self.dismiss(controller, id)?;
        let objects = &controller.caches.port_forwards;
        // One that is being deleted leaves what it owns to the garbage collector, or to the user who wants to keep it;
        // one that is in this proxy has only not been told yet.
        let all = objects.all();
        let living = all.iter().filter(|o| o.metadata.deletion_timestamp.is_none() && ProxyId::of(o) != *id);
        let living: HashSet<&str> = living.filter_map(|object| object.metadata.uid.as_deref()).collect();
        let lives = |uid: &str| living.contains(uid);
        let present = Present { caches: &controller.caches, answers: &HashMap::new() };
        let writes = present.leftovers(id, lives);
        Ok(writes.into_iter().map(|write| (write, None)).collect())
    }

    fn settle(
        &mut self,
        controller: &Controller,
        id: &ProxyId,
        members: &[PortForward],
        now: Instant,
    ) -> anyhow::Result<Vec<(Write, Option<InForce>)>> {
        let known = self.known.entry(id.clone()).or_default();
        known.look_at(members);
        self.vacancies.follow(id, known.taken.keys());
        let in_force = known.in_force(&controller.caches, id);
        let taken = known.taken_members(id, members);
        let settlement = settlement::settle(members, id.place(), &taken, &in_force, now_ms())?;
        let identity = self.identity.borrow().clone();
        let proxy = Proxy {
            id,
            members,
            settlement: &settlement,
            ca: &identity.ca_bundle,
            settings: &controller.options.settings,
        };
        let answers = std::mem::take(&mut known.answers);
        let present = Present { caches: &controller.caches, answers: &answers };
        let services = proxy.services(&present);
        let unclaimed = services.as_ref().is_ok_and(|writes| known.claims(writes, &in_force));
        // A member runs only once its Service is made: until then the others' configuration stays as it is.
        let others = if unclaimed || known.gateway_taken(id) { Ok(Vec::new()) } else { proxy.others(&present) };
        known.answers = answers;
        let mut writes: Vec<_> = services?.into_iter().map(|write| (write, None)).collect();
        let document = InForce { revision: settlement.revision, text: Some(Arc::clone(&settlement.text)) };
        writes.extend(others?.into_iter().map(|write| {
            let is_config = write.child().kind == ChildKind::ConfigMap;
            (write, is_config.then(|| document.clone()))
        }));
        if !writes.iter().any(|(_, document)| document.is_some()) && !unclaimed {
            known.document = in_force;
        }
        if writes.iter().any(|(write, _)| matches!(write, Write::Create(_))) {
            known.hoped = Some(Judgement::new(members, settlement.verdicts));
        } else {
            known.judged = Judgement::new(members, settlement.verdicts);
            self.look_at_members(controller, id, now);
        }
        self.assign(controller, id);
        Ok(writes)
    }

    /// Tells the connections which pods there are and what they shall run: only what the API server has.
    fn assign(&mut self, controller: &Controller, id: &ProxyId) {
        let Some(known) = self.known.get(id) else { return };
        let Some(text) = &known.document.text else { return };
        let pods = controller.pods_of(id).iter().filter_map(PodFacts::to_dial).collect();
        let assignment = Assignment { pods, document: Arc::clone(text), revision: known.document.revision };
        self.proxies.assign(id.clone(), assignment);
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
                        self.written.keep(controller.caches.port_forwards.get(&name).as_deref(), name, written);
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

    fn finish_proxy(&mut self, controller: &Controller, id: ProxyId, outcomes: Vec<Outcome>, now: Instant) {
        self.work.done(&id);
        let mut failed = None;
        if let Some(known) = self.known.get_mut(&id) {
            let is_taken = outcomes.iter().any(|outcome| matches!(outcome.result, Err(WriteError::Taken(_))));
            if let Some(hoped) = known.hoped.take().filter(|_| !is_taken) {
                known.judged = hoped;
            }
            for outcome in outcomes {
                if let Err(error) = known.learn(outcome) {
                    failed = Some(error);
                }
            }
            known.failed.clone_from(&failed);
            self.vacancies.follow(&id, known.taken.keys());
        }
        match failed {
            None => {
                self.work.forget(&id);
                // What follows from what was just made; it also tells the pods.
                self.work.add(id.clone(), now);
            }
            Some(error) => {
                tracing::warn!(proxy = %id, error, "not everything could be written");
                self.work.backoff(id.clone(), now, rand::random());
            }
        }
        self.assign(controller, &id);
        self.look_at_members(controller, &id, now);
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
