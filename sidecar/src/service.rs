//! Forwards being run for a person: the engine, what it shall run, and the view of it. From `run` and `demo` to the
//! engine; what the engine reports goes to the log and the view.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use anyhow::Context;
use fairlead_config::{ForwardReport, ForwardState, Report};
use fairlead_engine::{Engine, EngineOptions, Plan};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    args::EngineArgs,
    board::Board,
    clock, events, exit, limits,
    manifests::Wanted,
    signals::{Ending, Signals},
    view::View,
};

/// Changes that come in closer together are shown as one.
pub(crate) const GAP: Duration = Duration::from_millis(50);

/// Why forwards can't be run at all, with every problem.
#[derive(Debug)]
pub(crate) enum StartError {
    Refused(Vec<String>),
    NotListening(Vec<String>),
}

/// Running forwards.
pub(crate) struct Service {
    engine: Arc<Engine>,
    board: Board,
    told: Report,
    view: View,
    shown: Instant,
}

/// Starts an engine as the flags say, with as many open files as the system allows.
pub(crate) fn start_engine(args: &EngineArgs) -> anyhow::Result<Engine> {
    limits::raise_open_files();
    let mut options = EngineOptions { drain_timeout: args.drain_timeout, ..EngineOptions::default() };
    options.workers = args.workers.map_or(options.workers, |workers| workers.min(MOST_WORKERS));
    Engine::start(&options).context("start the worker threads")
}

/// More threads than this serve nobody.
const MOST_WORKERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// Runs what is wanted, all of it or nothing.
pub(crate) fn listen(engine: &Engine, wanted: &Wanted) -> Result<(), StartError> {
    let plan = Plan::new(wanted.rendering.config(clock::revision()).into());
    let refused: Vec<String> = plan.refused().iter().map(|refused| refused.message.clone()).collect();
    if !refused.is_empty() {
        return Err(StartError::Refused(refused));
    }
    engine.set_secrets(wanted.files.clone());
    engine.apply(plan);
    let report = engine.report();
    // A far end may come later.
    let is_far = |forward: &ForwardReport| matches!(forward.reason.as_deref(), Some("Pending" | "BindRefused"));
    let failed = report.forwards.iter().filter(|forward| forward.state == ForwardState::Failed && !is_far(forward));
    let failed: Vec<String> = failed
        .map(|forward| format!("forward {}: {}", forward.key, forward.message.clone().unwrap_or_default()))
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(StartError::NotListening(failed)) }
}

impl Service {
    /// Shows what `engine` runs, which `listen` gave it.
    pub(crate) fn new(engine: Arc<Engine>, wanted: &Wanted, view: View) -> Self {
        let mut board = Board::default();
        board.replace(wanted, clock::now());
        Self { engine, board, told: Report::default(), view, shown: Instant::now() }
    }

    /// Serves until a signal comes. `next` waits for what shall run instead; giving up its wait must lose nothing.
    pub(crate) async fn serve(&mut self, mut next: impl AsyncFnMut() -> Wanted, signals: &mut Signals) -> Ending {
        let mut changes = self.engine.changes();
        self.refresh();
        loop {
            let tick = self.view.tick();
            let changed = async {
                sleep_until(self.shown + GAP).await;
                changes.changed().await
            };
            tokio::select! {
                ending = signals.next() => return ending,
                wanted = next() => self.apply(&wanted),
                _ = changed => {}
                () = sleep(tick.unwrap_or_default()), if tick.is_some() => {}
            }
            self.refresh();
        }
    }

    /// Stops listening and waits for connections to end, unless another signal says not to.
    pub(crate) async fn end(mut self, ending: Ending, signals: &mut Signals) {
        let stats = self.engine.stats();
        if stats.iter().any(|stats| stats.open > 0) {
            self.view.set_hint("Ending: waiting for open connections. Ctrl-C again ends at once.");
        }
        self.refresh();
        drain(&self.engine, ending, signals).await;
        self.view.set_hint("Ended.");
        self.view.show(&self.board, || stats);
    }

    fn apply(&mut self, wanted: &Wanted) {
        self.engine.set_secrets(wanted.files.clone());
        self.engine.apply(Plan::new(wanted.rendering.config(clock::revision()).into()));
        self.board.replace(wanted, clock::now());
    }

    fn refresh(&mut self) {
        let report = self.engine.report();
        events::tell(&self.told, &report);
        self.board.observe(&report, clock::now());
        self.view.show(&self.board, || self.engine.stats());
        self.told = report;
        self.shown = Instant::now();
    }
}

/// Stops listening and waits for connections to end, unless another signal says not to.
pub(crate) async fn drain(engine: &Engine, ending: Ending, signals: &mut Signals) {
    if !ending.drains() {
        exit::now(ending);
    }
    let open: u64 = engine.stats().iter().map(|stats| stats.open).sum();
    tracing::info!(
        open,
        "{}: no longer listening, waiting for open connections; a second signal ends at once",
        ending.name()
    );
    tokio::select! {
        () = engine.shutdown() => {}
        second = signals.next() => exit::now(second),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use fairlead_api::render::Place;

    use super::*;
    use crate::{manifests, source::Text};

    fn forward(name: &str, port: u16) -> String {
        format!(
            "---\napiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {{name: {name}}}\n\
             spec: {{scheme: tcp, listen: {{port: {port}}}, targets: [{{host: 127.0.0.1, port: 1}}]}}\n"
        )
    }

    fn wanted(text: String) -> Wanted {
        let text = Text { name: "test".to_owned(), text, of_directory: None };
        let reading = manifests::read(&[text], Place::Laptop);
        assert_eq!(reading.problems, Vec::<String>::new());
        reading.wanted
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_at_the_start() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let engine = start_engine(&EngineArgs::usual()).unwrap();
        let Err(StartError::NotListening(problems)) = listen(&engine, &wanted(forward("db", port))) else {
            panic!("it listens");
        };
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("db") && problems[0].contains(&port.to_string()), "{problems:?}");
    }
}
