//! `fairlead proxy`: runs the configuration an operator rendered, from a file that the kubelet swaps and from pushes
//! to the admin port (`control`). A forward that can't run is refused alone; both ways end in `intake`.

use std::{path::PathBuf, sync::Arc};

use fairlead_config::Report;
use fairlead_engine::Engine;
use tokio::time::{Instant, sleep_until};

use crate::{
    admin::{self, Admin},
    args::{LogFormat, ProxyArgs},
    control, events,
    exit::Exit,
    intake::{Intake, Outcome},
    logging, service,
    signals::Signals,
    source,
    watch::Watch,
};

/// Runs the command.
pub(crate) async fn proxy(args: ProxyArgs, log_format: LogFormat) -> anyhow::Result<Exit> {
    logging::to_stderr(log_format);
    let mut signals = Signals::new()?;
    let engine = Arc::new(service::start_engine(&args.engine)?);
    let admin = Admin::new(Arc::clone(&engine));
    admin::serve(&args.metrics_addr, Arc::clone(&admin))?;
    let intake = Arc::new(Intake::new(Arc::clone(&engine), admin, awaited(&args)));
    let file = tokio::spawn(ConfigFile::new(args.config, Arc::clone(&intake)).follow());
    if let (Some(address), Some(authority)) = (&args.admin_addr, args.admin_ca) {
        control::serve(address, authority, Arc::clone(&intake), Arc::clone(&engine))?;
    }
    let ending = tokio::select! {
        ending = signals.next() => ending,
        never = tell(&engine) => match never {},
    };
    intake.end();
    file.abort();
    service::drain(&engine, ending, &mut signals).await;
    Ok(Exit::Done)
}

/// What a proxy without a configuration waits for.
fn awaited(args: &ProxyArgs) -> String {
    let push = if args.admin_addr.is_some() { " or a push" } else { "" };
    format!("{}{push}", args.config.display())
}

/// Writes what is new about forwards to the log; what comes in close together is told as one.
async fn tell(engine: &Engine) -> std::convert::Infallible {
    let mut changes = engine.changes();
    let mut told = Report::default();
    loop {
        let report = engine.report();
        events::tell(&told, &report);
        told = report;
        sleep_until(Instant::now() + service::GAP).await;
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A configuration file that is followed.
struct ConfigFile {
    path: PathBuf,
    watch: Watch,
    intake: Arc<Intake>,
    /// What was found last, good or bad.
    seen: Option<Result<String, String>>,
}

impl ConfigFile {
    fn new(path: PathBuf, intake: Arc<Intake>) -> Self {
        Self { path, watch: Watch::new(), intake, seen: None }
    }

    async fn follow(mut self) {
        loop {
            self.look();
            self.watch.changed().await;
        }
    }

    /// Offers the file's text if it is another one than before.
    fn look(&mut self) {
        self.watch.arm(&source::directories_of(&self.path));
        let found = source::read_text(&self.path);
        if self.seen.as_ref() == Some(&found) {
            return;
        }
        let outcome = match &found {
            Ok(text) => self.intake.offer(text, "file"),
            Err(problem) => self.intake.missing(problem.clone()),
        };
        self.seen = Some(found);
        self.log(outcome);
    }

    fn log(&self, outcome: Outcome) {
        let file = self.path.display();
        match outcome {
            Outcome::Running { .. } | Outcome::Ending => {}
            Outcome::Present { revision } => tracing::debug!(revision, "the file holds what runs"),
            Outcome::Old { offered, running } => tracing::info!(
                revision = offered,
                running,
                "ignored a configuration file that is not newer than what runs"
            ),
            Outcome::Broken { problem, running: None } => {
                tracing::warn!(%file, "no configuration yet: {problem}; waiting for one");
            }
            Outcome::Broken { problem, running: Some(_) } => {
                tracing::error!(%file, "{problem}; what ran before keeps running");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::intake::tests::{document, intake};

    #[tokio::test]
    async fn a_file_that_comes_later_or_was_broken_is_taken_when_it_is_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let (intake, _engine) = intake();
        let mut file = ConfigFile::new(path.clone(), Arc::clone(&intake));
        for (text, revision) in [
            (None, None),
            (Some("version: 1\nrevision".to_owned()), None),
            (Some(document(5)), Some(5)),
            (Some(document(4)), Some(5)),
        ] {
            text.into_iter().for_each(|text| fs::write(&path, text).unwrap());
            file.look();
            assert_eq!(intake.revision(), revision);
        }
    }

    #[tokio::test]
    async fn after_a_push_an_older_file_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, document(5)).unwrap();
        let (intake, engine) = intake();
        let mut file = ConfigFile::new(path.clone(), Arc::clone(&intake));
        file.look();
        intake.offer(&document(9), "push");
        for (revision, runs) in [(6, 9), (9, 9), (10, 10)] {
            fs::write(&path, document(revision)).unwrap();
            file.look();
            assert_eq!(engine.report().revision, runs, "the file's is {revision}");
        }
    }
}
