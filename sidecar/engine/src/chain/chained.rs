//! A forward's hops while it runs: gone through by its connections, replaced by a new plan, reported, and watched for
//! files that they lack.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use fairlead_config::NodeReport;

use super::{Hop, Path, hops};
use crate::{changes::Changes, engine::Context, plan::HopPlan, report::NodeStats, secrets::Secrets};

/// The hops of one forward; perhaps none.
pub(crate) struct Chained {
    name: String,
    hops: ArcSwap<Arc<[Arc<Hop>]>>,
    /// What hops lack to be dialled at all.
    lack: ArcSwapOption<String>,
    pub(crate) secrets: Arc<Secrets>,
    changes: Changes,
}

impl Chained {
    pub(crate) fn new(name: String, plans: &[HopPlan], context: &Context) -> Self {
        let (secrets, changes) = (Arc::clone(&context.secrets), context.changes.clone());
        let hops = ArcSwap::from_pointee(hops(plans, &[], &name, &changes, &context.ssh));
        let chained = Self { name, hops, lack: ArcSwapOption::empty(), secrets, changes };
        chained.look();
        chained
    }

    /// Takes the hops of a new plan; what is known of nodes in both stays.
    pub(crate) fn update(&self, plans: &[HopPlan], context: &Context) {
        let hops = hops(plans, &self.hops.load(), &self.name, &self.changes, &context.ssh);
        self.hops.store(Arc::new(hops));
        self.look();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hops.load().is_empty()
    }

    /// Through all hops.
    pub(crate) fn whole(&self) -> Path {
        Path::whole(Arc::clone(&self.hops.load()))
    }

    /// Through all hops, for connections that may wait for hours.
    pub(crate) fn waiting(&self) -> Path {
        Path::waiting(Arc::clone(&self.hops.load()))
    }

    /// Through all hops, for datagrams.
    pub(crate) fn watched(&self) -> Path {
        Path::watched(Arc::clone(&self.hops.load()))
    }

    /// What keeps its hops from being dialled, in one line.
    pub(crate) fn lack(&self) -> Option<String> {
        self.lack.load().as_deref().cloned()
    }

    /// The hops' nodes and how they fare.
    pub(crate) fn report(&self) -> Vec<NodeReport> {
        self.hops.load().iter().flat_map(|hop| hop.report()).collect()
    }

    /// The counters of the hops' nodes.
    pub(crate) fn stats(&self) -> Vec<NodeStats> {
        self.hops.load().iter().flat_map(|hop| hop.stats()).collect()
    }

    /// Looks after the files that hops need, until dropped.
    pub(crate) async fn look_after_files(self: Arc<Self>) {
        self.changes.clone().look(|| self.look()).await;
    }

    /// Looks at the files that hops need; true if what they lack has changed.
    pub(crate) fn look(&self) -> bool {
        let lack = self.hops.load().iter().find_map(|hop| hop.lack(&self.secrets)).map(Arc::new);
        let before = self.lack.swap(lack.clone());
        before != lack
    }
}
