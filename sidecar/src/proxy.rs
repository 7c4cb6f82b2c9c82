//! `fairlead proxy`: runs the configuration an operator rendered, in a file that the kubelet swaps. A forward that
//! can't run is refused alone; a file that can't be read, or isn't newer, changes nothing.

use std::{path::PathBuf, sync::Arc};

use fairlead_config::{ReadConfig, Report};
use fairlead_engine::Plan;
use tokio::time::{Instant, sleep_until};

use crate::{
    admin::{self, Admin},
    args::{LogFormat, ProxyArgs},
    events,
    exit::Exit,
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
    let mut file = ConfigFile::watch(args.config);
    let mut changes = engine.changes();
    let mut told = Report::default();
    let ending = loop {
        // Changes that come in close together are told as one.
        let gap = Instant::now() + service::GAP;
        let changed = async {
            sleep_until(gap).await;
            changes.changed().await
        };
        tokio::select! {
            ending = signals.next() => break ending,
            config = file.next() => {
                engine.apply(Plan::new(config));
                admin.set_ready(true);
            }
            _ = changed => {}
        }
        let report = engine.report();
        events::tell(&told, &report);
        told = report;
    };
    admin.set_ready(false);
    service::drain(&engine, ending, &mut signals).await;
    Ok(Exit::Done)
}

/// A configuration file that is followed.
struct ConfigFile {
    path: PathBuf,
    watch: Watch,
    /// What was found last, good or bad.
    seen: Option<Result<String, String>>,
    /// The revision in force.
    revision: Option<u64>,
}

/// What to do about a text.
#[derive(Debug, PartialEq)]
enum Decision {
    Run(ReadConfig),
    /// Not newer than what runs: its revision.
    Old(u64),
    Broken(String),
}

impl ConfigFile {
    fn watch(path: PathBuf) -> Self {
        Self { path, watch: Watch::new(), seen: None, revision: None }
    }

    /// Waits for a configuration to run instead of the present one. Nothing is lost when the wait is given up.
    async fn next(&mut self) -> ReadConfig {
        loop {
            if self.seen.is_some() {
                self.watch.changed().await;
            }
            if let Some(config) = self.look() {
                return config;
            }
        }
    }

    fn look(&mut self) -> Option<ReadConfig> {
        self.watch.arm(&source::directories_of(&self.path));
        let found = source::read_text(&self.path);
        if self.seen.as_ref() == Some(&found) {
            return None;
        }
        let decision = decide(self.revision, found.as_deref());
        self.seen = Some(found);
        match decision {
            Decision::Run(config) => {
                tracing::info!(revision = config.revision, forwards = config.forwards.len(), "configuration in force");
                self.revision = Some(config.revision);
                return Some(config);
            }
            Decision::Old(revision) => {
                tracing::info!(
                    revision,
                    running = self.revision,
                    "ignored a configuration that is not newer than what runs"
                );
            }
            Decision::Broken(problem) if self.revision.is_none() => {
                tracing::warn!(file = %self.path.display(), "{problem}; waiting for a configuration");
            }
            Decision::Broken(problem) => {
                tracing::error!(file = %self.path.display(), "{problem}; what ran before keeps running");
            }
        }
        None
    }
}

fn decide(running: Option<u64>, found: Result<&str, &String>) -> Decision {
    let text = match found {
        Ok(text) => text,
        Err(problem) => return Decision::Broken(problem.clone()),
    };
    match ReadConfig::parse(text) {
        Ok(config) if running.is_some_and(|running| config.revision <= running) => Decision::Old(config.revision),
        Ok(config) => Decision::Run(config),
        Err(error) => Decision::Broken(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn only_a_newer_configuration_is_run() {
        let text = |revision| format!("version: 1\nrevision: {revision}\nforwards: []\n");
        for (running, revision, runs) in [(None, 0, true), (Some(7), 8, true), (Some(7), 7, false), (Some(7), 6, false)]
        {
            let decision = decide(running, Ok(&text(revision)));
            assert_eq!(matches!(decision, Decision::Run(_)), runs, "{running:?} {revision}");
            assert_eq!(decision == Decision::Old(revision), !runs);
        }
        assert!(matches!(decide(Some(1), Ok("version: 1\nrevision: 2\nforwards: [")), Decision::Broken(_)));
        assert_eq!(decide(None, Err(&"gone".to_owned())), Decision::Broken("gone".to_owned()));
    }

    #[tokio::test]
    async fn a_file_that_comes_later_or_was_broken_is_taken_when_it_is_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let mut file = ConfigFile::watch(path.clone());
        assert_eq!(file.look(), None);
        fs::write(&path, "version: 1\nrevision").unwrap();
        assert_eq!(file.look(), None);
        let write =
            tokio::task::spawn_blocking(move || fs::write(path, "version: 1\nrevision: 5\nforwards: []\n").unwrap());
        let config = timeout(Duration::from_secs(20), file.next()).await.unwrap();
        write.await.unwrap();
        assert_eq!((config.revision, file.revision), (5, Some(5)));
    }
}
