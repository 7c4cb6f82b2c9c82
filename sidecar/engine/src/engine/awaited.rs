//! Forwards that go on as they were, since a directory that their new version names is not there: a pod that was made
//! before a Secret was named doesn't mount it. Once it is there, they go over.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;

use super::{Context, Engine, State};
use crate::{changes::LOOK_PAUSE, plan::Plan};

/// A plan that waits for a directory.
pub(super) struct Awaited {
    plan: Plan,
    _look: AbortOnDropHandle<()>,
}

impl Engine {
    /// Lets forwards that serve their clients go on where their new version couldn't.
    pub(super) fn keep_what_lacks(&self, state: &mut State, plan: &mut Plan) {
        let serving = state.forwards.iter().filter(|(_, running)| running.serves());
        let serving = serving.map(|(key, running)| (key.clone(), running.planned())).collect();
        let unmounted = plan.unmounted(&serving, Path::is_dir);
        state.awaited = (!unmounted.is_empty()).then(|| {
            let directories = unmounted.values().cloned().collect();
            let (context, shared) = (Arc::downgrade(&self.context), Arc::downgrade(&self.state));
            let look = look_for(directories, context, shared, self.drain_timeout);
            Awaited { plan: plan.clone(), _look: AbortOnDropHandle::new(self.context.control.spawn(look)) }
        });
        plan.keep_what_lacks(&unmounted, &serving);
    }
}

/// Looks for directories until one is there, and goes over to the plan that waits for it.
async fn look_for(
    directories: Vec<PathBuf>,
    context: Weak<Context>,
    state: Weak<Mutex<State>>,
    drain_timeout: Duration,
) {
    while !directories.iter().any(|directory| directory.is_dir()) {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let (Some(context), Some(state)) = (context.upgrade(), state.upgrade()) else { return };
    let engine = Engine { context, state, drain_timeout };
    let mut state = engine.state();
    // Whatever was applied meanwhile is newer, and waits itself.
    if let Some(awaited) = state.awaited.take() {
        engine.go_over(&mut state, awaited.plan);
        drop(state);
        engine.context.changes.notify();
    }
}
