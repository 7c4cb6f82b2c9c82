//! Takes configuration documents in, from the file and from pushes to the engine, and says when the proxy is ready.
//! Invariant: only a document newer than what runs is run, whichever way it came; any other changes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlead_config::ReadConfig;
use fairlead_engine::{Engine, Plan};

use crate::admin::Admin;

/// The one way for a configuration to come into force.
pub(crate) struct Intake {
    engine: Arc<Engine>,
    admin: Arc<Admin>,
    /// What a proxy without a configuration waits for, for people.
    awaited: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The revision in force.
    revision: Option<u64>,
    /// The process ends; nothing is taken any more.
    ending: bool,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in force now.
    Running { revision: u64 },
    /// Its revision was in force already; it was not looked at further.
    Present { revision: u64 },
    /// Something newer runs.
    Old { offered: u64, running: u64 },
    /// It is no configuration; `running` is what goes on.
    Broken { problem: String, running: Option<u64> },
    /// The process ends.
    Ending,
}

impl Intake {
    pub(crate) fn new(engine: Arc<Engine>, admin: Arc<Admin>, awaited: String) -> Self {
        admin.set_not_ready(format!("no configuration yet: waiting for {awaited}"));
        Self { engine, admin, awaited, state: Mutex::default() }
    }

    /// Runs a document if it is newer than what runs. `way` is how it came, for the log.
    pub(crate) fn offer(&self, text: &str, way: &str) -> Outcome {
        let read = ReadConfig::parse(text).map_err(|error| error.to_string());
        let mut state = self.state();
        let running = state.revision;
        match read {
            _ if state.ending => Outcome::Ending,
            Err(problem) => self.broken(problem, running),
            Ok(config) => match age(running, config.revision) {
                Some(outcome) => outcome,
                None => self.run(&mut state, config, way),
            },
        }
    }

    /// Says that there is nothing to offer, and why.
    pub(crate) fn missing(&self, problem: String) -> Outcome {
        let running = self.state().revision;
        self.broken(problem, running)
    }

    /// The revision in force.
    pub(crate) fn revision(&self) -> Option<u64> {
        self.state().revision
    }

    /// Takes nothing any more, since the process ends.
    pub(crate) fn end(&self) {
        self.state().ending = true;
        self.admin.set_not_ready("ending: no new clients, please".to_owned());
    }

    fn run(&self, state: &mut State, config: ReadConfig, way: &str) -> Outcome {
        let revision = config.revision;
        tracing::info!(revision, forwards = config.forwards.len(), way, "configuration in force");
        self.engine.apply(Plan::new(config));
        state.revision = Some(revision);
        self.admin.set_ready();
        Outcome::Running { revision }
    }

    fn broken(&self, problem: String, running: Option<u64>) -> Outcome {
        if running.is_none() {
            self.admin.set_not_ready(format!("no configuration yet: waiting for {} ({problem})", self.awaited));
        }
        Outcome::Broken { problem, running }
    }

    /// A poisoned lock is used on: the state is whole between any two of its changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a revision isn't run; none if it is newer than what runs.
fn age(running: Option<u64>, offered: u64) -> Option<Outcome> {
    let running = running.filter(|running| offered <= *running)?;
    Some(if offered == running { Outcome::Present { revision: running } } else { Outcome::Old { offered, running } })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use fairlead_engine::EngineOptions;

    use super::*;

    /// A proxy's intake that waits for `x.yaml`.
    pub(crate) fn intake() -> (Arc<Intake>, Arc<Engine>) {
        let engine = Arc::new(Engine::start(&EngineOptions::default()).unwrap());
        let admin = Admin::new(Arc::clone(&engine));
        (Arc::new(Intake::new(Arc::clone(&engine), admin, "x.yaml or a push".to_owned())), engine)
    }

    pub(crate) fn document(revision: u64) -> String {
        format!("version: 1\nrevision: {revision}\nforwards: []\n")
    }

    #[test]
    fn only_a_newer_revision_is_run() {
        for (running, offered, outcome) in [
            (None, 0, None),
            (Some(7), 8, None),
            (Some(7), 7, Some(Outcome::Present { revision: 7 })),
            (Some(7), 6, Some(Outcome::Old { offered: 6, running: 7 })),
        ] {
            assert_eq!(age(running, offered), outcome, "{running:?} {offered}");
        }
    }

    #[tokio::test]
    async fn what_is_broken_or_old_changes_nothing_and_what_is_newer_runs() {
        let (intake, engine) = intake();
        let broken = intake.offer("version: 1\nrevision: [", "test");
        assert!(matches!(&broken, Outcome::Broken { running: None, .. }), "{broken:?}");
        let why = intake.admin.readiness().unwrap_err();
        assert!(why.starts_with("no configuration yet: waiting for x.yaml or a push ("), "{why}");
        for (revision, outcome, runs) in [
            (5, Outcome::Running { revision: 5 }, 5),
            (4, Outcome::Old { offered: 4, running: 5 }, 5),
            (5, Outcome::Present { revision: 5 }, 5),
            (6, Outcome::Running { revision: 6 }, 6),
        ] {
            assert_eq!(intake.offer(&document(revision), "test"), outcome);
            assert_eq!((engine.report().revision, intake.revision()), (runs, Some(runs)));
        }
        assert_eq!(intake.admin.readiness(), Ok(()));
        assert!(matches!(intake.offer("no", "test"), Outcome::Broken { running: Some(6), .. }));
        assert!(matches!(intake.missing("gone".to_owned()), Outcome::Broken { running: Some(6), .. }));
        assert_eq!(intake.admin.readiness(), Ok(()), "what runs goes on");
        intake.end();
        assert_eq!(intake.offer(&document(7), "test"), Outcome::Ending);
        assert!(intake.admin.readiness().is_err());
    }
}
