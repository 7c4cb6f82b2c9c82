//! Documents that no change of a PortForward asks for: the empty one for sidecars whose last forward is gone, and one
//! that is newer than what a proxy turns out to run.

use std::time::Instant;

use fairlead_config::REVISION_LIMIT;

use super::{Leading, now_ms};
use crate::{
    controller::{
        Controller,
        children::ours,
        index::ObjectName,
        known::Known,
        pods::PodFacts,
        settlement::{self, InForce, Wishes},
    },
    names::{ProxyId, ProxyKind},
    proxies::{Assignment, Link},
};

impl Leading {
    /// Lets the pods of a proxy go that has no members any more. A gateway's end with it; those of the user's go on,
    /// and are told that there is nothing to run, unless the user keeps the configuration.
    pub(super) fn dismiss(&mut self, controller: &Controller, id: &ProxyId) -> anyhow::Result<()> {
        let is_sidecar = match id.kind {
            ProxyKind::Sidecar(_) => true,
            ProxyKind::Own(_) | ProxyKind::Shared(_) => false,
        };
        let at = ObjectName::new(&id.namespace, id.object_name());
        let outlives = is_sidecar && ours(&controller.caches.config_maps, &at).is_none();
        // One that still waits for its configuration is not ready, and goes on waiting.
        let pods = controller.pods_of(id).into_iter().filter(|pod| outlives && pod.ready);
        let pods: Vec<_> = pods.filter_map(|pod| PodFacts::to_dial(&pod)).collect();
        if pods.is_empty() {
            self.proxies.forget(id);
            self.known.remove(id);
            return Ok(());
        }
        let mut before = self.known.remove(id).map(|known| known.document).unwrap_or_default();
        before.revision = before.revision.max(self.newest_report(id));
        let (ports, taken, leavers, comers) = Default::default();
        let none = Wishes { members: &[], place: id.place(), ports, taken, leavers, comers };
        let settlement = settlement::settle(&none, &before, now_ms())?;
        let document = InForce { revision: settlement.revision, text: Some(settlement.text.clone()) };
        self.known.insert(id.clone(), Known::running(document));
        self.proxies.assign(id.clone(), Assignment { pods, document: settlement.text, revision: settlement.revision });
        Ok(())
    }

    /// Takes note if a proxy runs something newer than anybody remembers, and looks at it at once, or when it may:
    /// what is written next must be newer still, or the proxy would ignore it.
    pub(super) fn overtake(&mut self, id: &ProxyId, now: Instant) {
        let newest = self.newest_report(id);
        if let Some(due) = self.known.get_mut(id).and_then(|known| known.overtake(newest, now)) {
            self.work.add(id.clone(), due);
        }
    }

    /// The largest revision that its pods say they run, 0 if none says so.
    fn newest_report(&self, id: &ProxyId) -> u64 {
        let views = self.proxies.observe(id);
        let reports = views.iter().filter_map(|view| match &view.link {
            Link::Connected { report, .. } => Some(report.revision),
            Link::Dialling { .. } | Link::Lost { .. } => None,
        });
        reports.filter(|revision| *revision < REVISION_LIMIT).max().unwrap_or_default()
    }
}
