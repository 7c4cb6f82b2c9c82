//! The leader's look at one proxy: from its members, pods and objects to what must be written, and what came of that.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use fairlead_api::PortForward;
use fairlead_config::ForwardKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Leading, now_ms};
use crate::{
    controller::{
        Controller,
        child::{ChildKind, Write},
        children::{Present, Proxy, ours, served},
        index::ObjectName,
        jobs::{Outcome, write_all},
        known::Judgement,
        pods::PodFacts,
        rolls::Mounts,
        settlement::{self, InForce, Settlement, Wishes},
        writer::WriteError,
    },
    names::{ProxyId, ProxyKind},
    objects::{ProxyPorts, mounted, references},
    proxies::Assignment,
    telemetry::ReconcileResult,
};

/// What is to be written for one proxy, in order, each with the document that it brings.
type Writes = Vec<(Write, Option<InForce>)>;

impl Leading {
    /// Looks at one proxy as a whole, and begins what is to be written.
    #[tracing::instrument(name = "reconcile", skip_all, fields(proxy = %id))]
    pub(super) fn reconcile(&mut self, controller: &Controller, id: ProxyId, now: Instant) {
        let began = Instant::now();
        // What a proxy said when it was too soon, or before there was a document to compare with, counts now.
        self.overtake(&id, now);
        let members = controller.members_of(&id);
        let leavers = controller.leavers_of(&id, &self.partings, now);
        if let Some(until) = self.partings.next(&id, now) {
            self.work.add(id.clone(), until);
        }
        let writes = if !members.is_empty() {
            self.settle(controller, &id, (&members, leavers), now)
        } else if leavers.is_empty() {
            self.leave(controller, &id)
        } else {
            self.serve_on(controller, &id);
            Ok(Vec::new())
        };
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
    fn leave(&mut self, controller: &Controller, id: &ProxyId) -> anyhow::Result<Writes> {
        self.vacancies.follow(id, std::iter::empty());
        self.dismiss(controller, id)?;
        // One that is being deleted leaves what it owns to the garbage collector, or to the user who wants to keep it;
        // one that is in this proxy has only not been told yet.
        let lives = |owner: &OwnerReference| {
            let named = controller.caches.port_forwards.get(&ObjectName::new(&id.namespace, &owner.name));
            let living = named.filter(|o| o.metadata.deletion_timestamp.is_none() && ProxyId::of(o) != *id);
            living.is_some_and(|object| object.metadata.uid.as_ref() == Some(&owner.uid))
        };
        let present = Present { caches: &controller.caches, answers: &HashMap::new() };
        let writes = present.leftovers(id, lives);
        Ok(writes.into_iter().map(|write| (write, None)).collect())
    }

    /// A proxy whose last members are moving away stays as it is until they have arrived.
    fn serve_on(&mut self, controller: &Controller, id: &ProxyId) {
        let known = self.known.entry(id.clone()).or_default();
        known.document = known.in_force(&controller.caches, id);
        self.assign(controller, id);
    }

    fn settle(
        &mut self,
        controller: &Controller,
        id: &ProxyId,
        (members, leavers): (&[PortForward], BTreeSet<ForwardKey>),
        now: Instant,
    ) -> anyhow::Result<Writes> {
        let known = self.known.entry(id.clone()).or_default();
        known.look_at(members);
        self.vacancies.follow(id, known.taken.keys());
        let in_force = known.in_force(&controller.caches, id);
        let (taken, some_leave) = (known.taken_members(id, members), !leavers.is_empty());
        let (ports, comers) = (own_ports(controller, id), controller.comers_of(id, members));
        let wishes = Wishes { members, place: id.place(), ports, taken, leavers, comers };
        let settlement = settlement::settle(&wishes, &in_force, now_ms())?;
        let mounts = self.mounts(controller, id, (members, &settlement, some_leave), now);
        let identity = self.identity.borrow().clone();
        let proxy = Proxy {
            id,
            members,
            comers: &wishes.comers,
            some_leave,
            settlement: &settlement,
            references: &mounts.references,
            ca: &identity.ca_bundle,
            settings: &controller.options.settings,
        };
        let writes = self.writes(controller, &proxy, in_force)?;
        let is_new = writes.iter().any(|(write, _)| matches!(write, Write::Create(_)));
        if let Some(known) = self.known.get_mut(id) {
            let judgement = Judgement::new(members, settlement.verdicts);
            if is_new { known.hoped = Some(judgement) } else { known.judged = judgement }
        }
        if !is_new {
            self.look_at_members(controller, id, now);
        }
        if let Some(until) = mounts.until {
            self.work.add(id.clone(), until);
        }
        self.assign(controller, id);
        Ok(writes)
    }

    /// What brings the objects of a proxy in line. A member runs only once its Service is made: until then the others'
    /// configuration stays as it is.
    fn writes(&mut self, controller: &Controller, proxy: &Proxy<'_>, in_force: InForce) -> anyhow::Result<Writes> {
        let known = self.known.entry(proxy.id.clone()).or_default();
        let answers = std::mem::take(&mut known.answers);
        let present = Present { caches: &controller.caches, answers: &answers };
        let services = proxy.services(&present);
        let unclaimed = services.as_ref().is_ok_and(|writes| known.claims(writes, &in_force));
        let others = if unclaimed || known.gateway_taken(proxy.id) { Ok(Vec::new()) } else { proxy.others(&present) };
        known.answers = answers;
        let mut writes: Writes = services?.into_iter().map(|write| (write, None)).collect();
        let Settlement { revision, text, .. } = proxy.settlement;
        let document = InForce { revision: *revision, text: Some(Arc::clone(text)) };
        writes.extend(others?.into_iter().map(|write| {
            let is_config = write.child().kind == ChildKind::ConfigMap;
            (write, is_config.then(|| document.clone()))
        }));
        if !writes.iter().any(|(_, document)| document.is_some()) && !unclaimed {
            known.document = in_force;
        }
        Ok(writes)
    }

    /// What the pods of a gateway shall mount: what the members name, though not at once in a shared one, and whatever
    /// those who leave still use.
    fn mounts(
        &mut self,
        controller: &Controller,
        id: &ProxyId,
        (members, settlement, some_leave): (&[PortForward], &Settlement, bool),
        now: Instant,
    ) -> Mounts {
        let mut wanted = references(&served(members, settlement));
        let at = ObjectName::new(&id.namespace, id.object_name());
        let present = ours(&controller.caches.deployments, &at).map(|deployment| mounted(&deployment));
        if some_leave {
            wanted.extend(present.iter().flatten().cloned());
        }
        match (&id.kind, self.known.get_mut(id)) {
            (ProxyKind::Shared(_), Some(known)) => known.collection.settle(wanted, present, now),
            _ => Mounts { references: wanted, until: None },
        }
    }

    /// Tells the connections which pods there are and what they shall run: only what the API server has.
    fn assign(&mut self, controller: &Controller, id: &ProxyId) {
        let Some(known) = self.known.get(id) else { return };
        let Some(text) = &known.document.text else { return };
        let pods = controller.pods_of(id).iter().filter_map(PodFacts::to_dial).collect();
        let assignment = Assignment { pods, document: Arc::clone(text), revision: known.document.revision };
        self.proxies.assign(id.clone(), assignment);
    }

    /// Takes note of what came of a proxy's writes.
    pub(super) fn finish_proxy(&mut self, controller: &Controller, id: ProxyId, outcomes: Vec<Outcome>, now: Instant) {
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
        // A Service that leads here may have to turn to where its PortForward is now.
        controller.heirs_of(&id).into_iter().for_each(|heir| self.work.add(heir, now));
        self.assign(controller, &id);
        self.look_at_members(controller, &id, now);
    }
}

/// The ports that a proxy keeps for itself: those of the pods that there are, where they are the user's.
fn own_ports(controller: &Controller, id: &ProxyId) -> Vec<u16> {
    let of_gateways = |key: &str| controller.options.settings.gateway.annotations.get(key).map(String::as_str);
    let mut all: Vec<ProxyPorts> = match id.kind {
        ProxyKind::Own(_) | ProxyKind::Shared(_) => vec![ProxyPorts::of(of_gateways).unwrap_or_default()],
        ProxyKind::Sidecar(_) => controller.pods_of(id).into_iter().map(|pod| pod.ports).collect(),
    };
    if all.is_empty() {
        all.push(ProxyPorts::default());
    }
    let mut ports: Vec<u16> = all.into_iter().flat_map(|ports| [ports.admin, ports.metrics]).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
