//! The leader's turns at statuses: when one is written, and what is believed while proxies are silent.

use std::{sync::Arc, time::Instant};

use fairlead_api::{PortForward, PortForwardStatus, render::key_of};
use k8s_openapi::jiff::Timestamp;

use super::Leading;
use crate::{
    controller::{
        Controller,
        children::ours,
        index::ObjectName,
        jobs::Done,
        observation::{self, Observation},
        statuses,
        unseen::Written,
    },
    events::transitions,
    names::{ProxyId, ProxyKind},
};

impl Leading {
    fn observe(&self, controller: &Controller, id: &ProxyId, now: Instant) -> Observation {
        let pods = controller.pods_of(id);
        let at = ObjectName::new(&id.namespace, id.object_name());
        let deployment = ours(&controller.caches.deployments, &at);
        let (desired, missing) = match &id.kind {
            ProxyKind::Sidecar(_) => (None, None),
            ProxyKind::Own(_) | ProxyKind::Shared(_) => {
                let replicas = deployment.as_ref().and_then(|d| d.spec.as_ref()).and_then(|spec| spec.replicas);
                let desired = u32::try_from(replicas.unwrap_or(1)).unwrap_or(0);
                (Some(desired), deployment.as_ref().and_then(observation::missing))
            }
        };
        let missing = missing.or_else(|| self.known.get(id).and_then(|known| known.failed.clone()));
        observation::observe(&pods, &self.proxies.observe(id), desired, missing, now)
    }

    /// Begins to write the status of one object, if it has changed and there is a write to spare.
    pub(super) fn write_status(&mut self, controller: &Controller, name: ObjectName, now: Instant) {
        let next = self.next_status(controller, &name, now);
        let Some((object, status)) = next else {
            self.statuses.done(&name);
            return;
        };
        if let Err(at) = self.budget.take(&key_of(&object), now) {
            self.statuses.done(&name);
            self.statuses.add(name, at);
            return;
        }
        let (writer, publisher) = (controller.writer.clone(), Arc::clone(&self.publisher));
        self.jobs.spawn(async move {
            let result = writer.status(&object, &status).await;
            if result.is_ok() {
                let notes = transitions(object.status.as_ref(), &status);
                // Whoever leads by now tells what happens from now on.
                let told = writer.leader.write(publisher.publish(&object, &notes)).await.unwrap_or_default();
                writer.telemetry.events_written(told);
            }
            Done::Status { name, result: result.map(|answer| Written::new(status, &answer)) }
        });
    }

    /// The status to write, if it differs from what is written.
    fn next_status(
        &mut self,
        controller: &Controller,
        name: &ObjectName,
        now: Instant,
    ) -> Option<(PortForward, PortForwardStatus)> {
        let mut object = controller.caches.port_forwards.get(name)?;
        let id = controller.members.proxy_of(name)?;
        let known = self.known.get(id)?;
        let verdict = known.judged.on(&object)?;
        if let Some(written) = self.written.of(name) {
            object.status = Some(written.clone());
        }
        let mut observation = self.observe(controller, id, now);
        if let Some(why) = known.unmade.get(&name.name) {
            observation.without_service(why);
        }
        let trusted_until = self.since + observation::BELIEVED_FOR;
        if statuses::waits(&object, verdict, &observation) && now < trusted_until {
            self.statuses.add(name.clone(), trusted_until);
            return None;
        }
        if let Some(until) = observation.until {
            self.statuses.add(name.clone(), until);
        }
        let has_service = ours(&controller.caches.services, name).is_some();
        let status = statuses::next(&object, verdict, &observation, has_service, Timestamp::now());
        let same = object.status.as_ref().is_some_and(|before| fairlead_api::status::same(before, &status));
        if same {
            self.news.remove(name);
            return None;
        }
        Some((object, status))
    }
}
