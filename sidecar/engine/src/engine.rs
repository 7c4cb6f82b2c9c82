//! `Engine`: runs a plan, goes over to the next one by difference, and says how it goes.
//! Called by the command line and, through it, by the operator's pushes; knows neither files nor Kubernetes.

mod awaited;

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use fairlead_config::{ForwardKey, Report, defaults};
use rustix::io::Errno;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use self::awaited::Awaited;
use crate::{
    accept::ServeControl,
    changes::Changes,
    forward::Forwarding,
    health::CHECKS_LIMIT,
    plan::{ForwardPlan, Plan, Planned, difference},
    report,
    resolve::Resolver,
    secrets::{SecretFiles, Secrets},
    ssh,
    workers::Workers,
};

/// How long after a failed listen the next attempt is made; doubles up to the limit.
const LISTEN_RETRY: Duration = Duration::from_millis(50);
const LISTEN_RETRY_LIMIT: Duration = Duration::from_secs(15);

/// What the engine is started with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Threads that serve connections, each on a runtime of its own.
    pub workers: NonZeroUsize,
    /// How long connections of a removed forward may go on.
    pub drain_timeout: Duration,
}

/// A running engine. Dropping it ends every connection at once.
pub struct Engine {
    pub(crate) context: Arc<Context>,
    state: Arc<Mutex<State>>,
    drain_timeout: Duration,
}

/// What every forward of the engine uses.
pub(crate) struct Context {
    pub(crate) workers: Workers,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) changes: Changes,
    /// Places for health checks under way, over all forwards.
    pub(crate) health_checks: Arc<Semaphore>,
    /// Where tasks that serve no connection run.
    pub(crate) control: Handle,
    pub(crate) ssh: ssh::Pool,
}

/// What runs now.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) plan: Plan,
    pub(crate) forwards: BTreeMap<ForwardKey, Running>,
    /// Removed forwards whose connections still go on.
    draining: JoinSet<()>,
    /// Nothing is started any more.
    shut_down: bool,
    awaited: Option<Awaited>,
}

/// One planned forward and what became of it.
pub(crate) struct Running {
    pub(crate) plan: ForwardPlan,
    pub(crate) digest: String,
    pub(crate) listener: Result<Forwarding, ListenError>,
    /// Tries a failed listener again.
    retry: Option<AbortOnDropHandle<()>>,
}

/// A listener that could not be opened, in one line that names the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("listen on {address}: {cause}")]
pub struct ListenError {
    pub address: String,
    pub cause: String,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { workers, drain_timeout: defaults::DRAIN_TIMEOUT }
    }
}

impl Engine {
    /// Starts the workers. Call it within the tokio runtime whose tasks shall watch over the forwards.
    pub fn start(options: &EngineOptions) -> io::Result<Self> {
        let workers = Workers::start(options.workers.get())?;
        let context = Context {
            ssh: ssh::Pool::new(workers.handles()),
            workers,
            resolver: Arc::new(Resolver::new(Handle::current())),
            secrets: Arc::default(),
            changes: Changes::new(),
            health_checks: Arc::new(Semaphore::new(CHECKS_LIMIT)),
            control: Handle::current(),
        };
        Ok(Self { context: Arc::new(context), state: Arc::default(), drain_timeout: options.drain_timeout })
    }

    /// Goes over to `plan`. What did not change is not touched; a listener that can't be opened is tried again
    /// later, and the report says so.
    pub fn apply(&self, plan: Plan) {
        let mut state = self.state();
        if state.shut_down {
            return;
        }
        self.go_over(&mut state, plan);
        drop(state);
        self.context.changes.notify();
    }

    fn go_over(&self, state: &mut State, mut plan: Plan) {
        let running = state.forwards.iter().map(|(key, running)| (key.clone(), running.planned())).collect();
        plan.keep_what_is_not_understood(&running);
        self.keep_what_lacks(state, &mut plan);
        let difference = difference(&running, &plan.forwards);
        for key in &difference.stop {
            if let Some(stopped) = state.forwards.remove(key) {
                let makes_way = difference.start.iter().filter_map(|key| plan.forwards.get(key)).any(|started| {
                    started.plan.recipe.is_datagram()
                        && stopped.plan.excludes(started.plan.recipe, &started.plan.listen)
                });
                self.drain(state, stopped, if makes_way { Duration::ZERO } else { self.drain_timeout });
            }
        }
        for key in &difference.update {
            if let (Some(running), Some(planned)) = (state.forwards.get_mut(key), plan.forwards.get(key)) {
                running.update(planned, &self.context);
            }
        }
        for key in &difference.start {
            if let Some(planned) = plan.forwards.get(key) {
                let running = self.start_forward(key, planned);
                state.forwards.insert(key.clone(), running);
            }
        }
        for (key, running) in &mut state.forwards {
            running.digest = plan.forwards.get(key).map(|planned| planned.digest.clone()).unwrap_or_default();
        }
        state.plan = plan;
    }

    /// Replaces what stands in for files that a configuration names; do it before `apply`.
    pub fn set_secrets(&self, files: SecretFiles) {
        self.context.secrets.replace(files);
    }

    /// What runs and how its nodes fare.
    pub fn report(&self) -> Report {
        report::report(&self.state())
    }

    /// A receiver that wakes at every change of the report.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.context.changes.subscribe()
    }

    /// The counters of every forward.
    pub fn stats(&self) -> Vec<report::ForwardStats> {
        report::stats(&self.state())
    }

    /// Stops accepting, and returns once every connection has ended or the drain time-out is over.
    pub async fn shutdown(&self) {
        let mut draining = {
            let mut state = self.state();
            state.shut_down = true;
            state.awaited = None;
            for (_, stopped) in std::mem::take(&mut state.forwards) {
                self.drain(&mut state, stopped, self.drain_timeout);
            }
            std::mem::take(&mut state.draining)
        };
        while draining.join_next().await.is_some() {}
    }

    /// Lets a forward's connections go on for a while. A datagram listener keeps its port as long.
    fn drain(&self, state: &mut State, stopped: Running, limit: Duration) {
        let Ok(mut forward) = stopped.listener else { return };
        let control = forward.stop();
        while state.draining.try_join_next().is_some() {}
        if limit.is_zero() {
            control.abort();
        }
        state.draining.spawn_on(drain(control, limit), &self.context.control);
    }

    fn start_forward(&self, key: &ForwardKey, planned: &Planned) -> Running {
        let mut running = Running::start(key, planned, &self.context);
        if running.listener.is_err() {
            let retry = retry(key.clone(), Arc::downgrade(&self.context), Arc::downgrade(&self.state));
            running.retry = Some(AbortOnDropHandle::new(self.context.control.spawn(retry)));
        }
        running
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Tries a failed listener again and again, until it listens or its forward is gone.
async fn retry(key: ForwardKey, context: Weak<Context>, state: Weak<Mutex<State>>) {
    let mut pause = LISTEN_RETRY;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LISTEN_RETRY_LIMIT);
        let (Some(context), Some(state)) = (context.upgrade(), state.upgrade()) else { return };
        let mut state = lock(&state);
        let Some(running) = state.forwards.get_mut(&key) else { return };
        let before = running.listener.as_ref().err().cloned();
        running.listener = Running::start(&key, &running.planned(), &context).listener;
        let after = running.listener.as_ref().err().cloned();
        drop(state);
        if after != before {
            context.changes.notify();
        }
        if after.is_none() {
            return;
        }
    }
}

/// A poisoned lock is used on: the state is whole between any two of its changes.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn drain(control: Arc<ServeControl>, limit: Duration) {
    if tokio::time::timeout(limit, control.drained()).await.is_err() {
        control.abort();
        control.drained().await;
    }
}

impl Running {
    fn start(key: &ForwardKey, planned: &Planned, context: &Context) -> Self {
        let listener =
            Forwarding::start(key, &planned.plan, context).map_err(|error| ListenError::new(&planned.plan, &error));
        match &listener {
            Ok(_) => tracing::debug!(forward = %key, listen = %planned.plan.listen, "listening"),
            Err(error) => tracing::debug!(forward = %key, %error, "not listening"),
        }
        Self { plan: planned.plan.clone(), digest: planned.digest.clone(), listener, retry: None }
    }

    /// Whether clients are served, as far as it can be known here.
    fn serves(&self) -> bool {
        self.listener.as_ref().is_ok_and(|forward| forward.lack().is_none())
    }

    fn planned(&self) -> Planned {
        Planned { digest: self.digest.clone(), plan: self.plan.clone() }
    }

    fn update(&mut self, planned: &Planned, context: &Context) {
        self.plan = planned.plan.clone();
        if let Ok(forward) = &mut self.listener {
            forward.update(&planned.plan, context);
        }
    }
}

impl ListenError {
    fn new(plan: &ForwardPlan, error: &io::Error) -> Self {
        let port = plan.listen.port;
        let cause = match Errno::from_io_error(error) {
            Some(Errno::ADDRINUSE) => {
                "the address is in use; choose another listen port or stop the program that has it".to_owned()
            }
            Some(Errno::ACCESS | Errno::PERM) => format!(
                "no right to bind port {port}; choose a port from 1024 up, or allow low ports \
                 (net.ipv4.ip_unprivileged_port_start, CAP_NET_BIND_SERVICE)"
            ),
            Some(Errno::ADDRNOTAVAIL) => {
                "this host does not have that address; name one it has, or leave the host empty for all".to_owned()
            }
            _ => error.to_string(),
        };
        Self { address: plan.listen.to_string(), cause }
    }
}

#[cfg(test)]
mod tests;
