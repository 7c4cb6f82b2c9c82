//! One simulated proxy: takes configurations as a real one does, runs nothing, and reports what it is told to. From
//! documents to reports; `admin` carries both.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use fairlead_config::{
    Forward, ForwardKey, ForwardReport, ForwardState, NodeReport, NodeRole, NodeState, ReadConfig, Report,
    admin::PushAnswer,
};
use tokio::sync::watch;

const VERSION: u32 = 1;
const ERROR: &str = "connection refused";

/// A proxy without forwarders.
pub(super) struct Simulated {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    revision: u64,
    forwards: Vec<Forward>,
    /// When the first target of each forward came to be dead or alive, in milliseconds of Unix time.
    turned: BTreeMap<ForwardKey, (NodeState, u64)>,
    /// The forward whose target turns next.
    next: usize,
}

/// What a proxy begins to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) key: ForwardKey,
    pub(super) target: String,
    pub(super) is_dead: bool,
}

impl Simulated {
    /// One that starts with the document of its ConfigMap.
    pub(super) fn new(document: &str) -> Self {
        let proxy = Self { state: Mutex::default(), changes: watch::Sender::new(0) };
        proxy.offer(document);
        proxy
    }

    /// Takes a document unless it is old or broken; answers the HTTP status and what a proxy says.
    pub(super) fn offer(&self, document: &str) -> (u16, PushAnswer) {
        let mut state = self.state();
        let (code, message) = match ReadConfig::parse(document) {
            Err(error) => (400, Some(error.to_string())),
            Ok(config) if config.revision < state.revision => (409, Some("an old revision".to_owned())),
            Ok(config) if config.revision == state.revision => (200, None),
            Ok(config) => {
                state.revision = config.revision;
                state.forwards = config.forwards;
                (200, None)
            }
        };
        let answer = PushAnswer { revision: Some(state.revision), message };
        drop(state);
        self.tell();
        (code, answer)
    }

    /// Lets the next target die, or come back. `before` is told before any operator is.
    pub(super) fn turn(&self, before: impl FnOnce(Turn)) {
        let mut state = self.state();
        let next = state.next;
        let Some(forward) = state.forwards.get(next % state.forwards.len().max(1)).cloned() else { return };
        state.next += 1;
        let was_dead = state.turned.get(&forward.key).is_some_and(|(turned, _)| *turned == NodeState::Dead);
        let turned = if was_dead { NodeState::Alive } else { NodeState::Dead };
        state.turned.insert(forward.key.clone(), (turned, unix_ms()));
        drop(state);
        let target = forward.targets.first().map(ToString::to_string).unwrap_or_default();
        before(Turn { key: forward.key, target, is_dead: !was_dead });
        self.tell();
    }

    /// What it says now.
    pub(super) fn report(&self) -> Report {
        let state = self.state();
        let forwards = state.forwards.iter().map(|forward| state.forward_report(forward)).collect();
        Report { version: VERSION, revision: state.revision, forwards }
    }

    /// Wakes at every change; who follows is counted.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether an operator hears its reports.
    pub(super) fn is_heard(&self) -> bool {
        self.changes.receiver_count() > 0
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forward_report(&self, forward: &Forward) -> ForwardReport {
        let node = |(index, target): (usize, &fairlead_config::HostPort)| {
            let turned = self.turned.get(&forward.key).filter(|_| index == 0);
            let (state, since) = turned.copied().unwrap_or((NodeState::Alive, 1));
            let is_dead = state == NodeState::Dead;
            NodeReport {
                address: target.to_string(),
                role: NodeRole::Target,
                hop: None,
                state,
                fails: if is_dead { 2 } else { 0 },
                last_error: is_dead.then(|| format!("{target}: {ERROR}")),
                since,
            }
        };
        ForwardReport {
            key: forward.key.clone(),
            digest: forward.digest.clone(),
            state: ForwardState::Listening,
            listening: Some(forward.listen.clone()),
            bound: None,
            reason: None,
            message: None,
            nodes: forward.targets.iter().enumerate().map(node).collect(),
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document(revision: u64) -> String {
        format!(
            "{{version: 1, revision: {revision}, forwards: [{{key: {{namespace: shop, name: db, uid: u}}, digest: d, \
             scheme: tcp, listen: {{host: '', port: 1}}, targets: [{{host: a, port: 2}}, {{host: b, port: 2}}]}}]}}"
        )
    }

    #[test]
    fn a_newer_document_is_taken_and_an_older_one_is_not() {
        let proxy = Simulated::new(&document(7));
        assert_eq!(proxy.offer(&document(8)).0, 200);
        let (code, answer) = proxy.offer(&document(7));
        assert_eq!((code, answer.revision), (409, Some(8)));
        assert_eq!(proxy.offer("forwards: [").0, 400);
        assert_eq!((proxy.report().revision, proxy.report().forwards.len()), (8, 1));
    }

    #[test]
    fn a_target_dies_and_comes_back_and_whoever_follows_is_woken() {
        let proxy = Simulated::new(&document(7));
        let mut changes = proxy.changes();
        let states = |proxy: &Simulated| proxy.report().forwards[0].nodes.iter().map(|n| n.state).collect::<Vec<_>>();
        for (is_dead, first) in [(true, NodeState::Dead), (false, NodeState::Alive)] {
            changes.mark_unchanged();
            let mut told = None;
            proxy.turn(|turn| told = Some(turn));
            let told = told.unwrap();
            assert_eq!((told.target.as_str(), told.is_dead), ("a:2", is_dead));
            assert_eq!(states(&proxy), [first, NodeState::Alive]);
            assert!(changes.has_changed().unwrap());
        }
    }
}
