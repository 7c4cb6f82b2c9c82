//! `Reloader`: watches where manifests come from, and says what shall run whenever that changes. What can't be taken
//! is told once and changes nothing.

use std::{collections::BTreeSet, path::PathBuf};

use fairlead_api::render::Place;

use crate::{
    manifests::{self, Reading, Reloaded, Wanted},
    source::{self, Origin, Snapshot, Text},
    watch::Watch,
};

const PLACE: Place = Place::Laptop;

/// Manifests that are followed.
pub(crate) struct Reloader {
    origins: Vec<Origin>,
    /// None when nothing can change.
    watch: Option<Watch>,
    /// The texts in force.
    held: Vec<Text>,
    /// What was seen last, good or bad.
    seen: Snapshot,
    /// What is wrong with it, which was told.
    problems: BTreeSet<String>,
    /// What was told about objects of other kinds, and warnings.
    told: BTreeSet<String>,
}

impl Reloader {
    /// Begins to watch, before anything is read: so no change is missed.
    pub(crate) fn new(origins: Vec<Origin>) -> Self {
        let fixed = origins.iter().all(|origin| origin.watched().is_empty());
        let watch = (!fixed).then(Watch::new);
        let mut reloader = Self {
            origins,
            watch,
            held: Vec::new(),
            seen: Snapshot::default(),
            problems: BTreeSet::new(),
            told: BTreeSet::new(),
        };
        reloader.arm();
        reloader
    }

    /// Reads everything for the first time.
    pub(crate) fn first(&mut self) -> Reading {
        let snapshot = source::snapshot(&self.origins);
        let directories = self.origins.iter().filter_map(|origin| match origin {
            Origin::Directory(path) => Some(path.as_path()),
            Origin::File(_) | Origin::Once(_) => None,
        });
        let reading = manifests::first(&snapshot, &directories.collect::<Vec<_>>(), PLACE);
        self.told.extend(reading.skipped.iter().chain(&reading.warnings).cloned());
        self.held.clone_from(&snapshot.texts);
        self.seen = snapshot;
        reading
    }

    /// Waits until something else shall run. Nothing is lost when the wait is given up.
    pub(crate) async fn next(&mut self) -> Wanted {
        loop {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
            if let Some(wanted) = self.look() {
                return wanted;
            }
        }
    }

    fn look(&mut self) -> Option<Wanted> {
        self.arm();
        let snapshot = source::snapshot(&self.origins);
        if snapshot == self.seen {
            return None;
        }
        let Reloaded { texts, reading, problems } = manifests::next(&self.held, &snapshot, PLACE);
        self.seen = snapshot;
        self.complain(problems);
        for remark in reading.skipped.into_iter().chain(reading.warnings) {
            if self.told.insert(remark.clone()) {
                tracing::warn!("{remark}");
            }
        }
        if texts == self.held {
            return None;
        }
        self.held = texts;
        tracing::info!(forwards = reading.wanted.rendering.forwards.len(), "manifests changed");
        Some(reading.wanted)
    }

    /// Tells each problem once, as long as it is there.
    fn complain(&mut self, problems: Vec<String>) {
        let problems = BTreeSet::from_iter(problems);
        let mut new = problems.difference(&self.problems).peekable();
        if new.peek().is_some() {
            new.for_each(|problem| tracing::error!("{problem}"));
            tracing::error!("not taken: what ran before keeps running");
        } else if problems.is_empty() && !self.problems.is_empty() {
            tracing::info!("all manifests are good again");
        }
        self.problems = problems;
    }

    fn arm(&mut self) {
        if let Some(watch) = &mut self.watch {
            let directories: Vec<PathBuf> = self.origins.iter().flat_map(Origin::watched).collect();
            watch.arm(&directories);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn forward(port: u16) -> String {
        format!(
            "apiVersion: fairlead.dev/v1alpha1\nkind: PortForward\nmetadata: {{name: db}}\n\
             spec: {{scheme: tcp, listen: {{port: {port}}}, targets: [{{host: 127.0.0.1, port: 1}}]}}\n"
        )
    }

    fn ports(wanted: &Wanted) -> Vec<u16> {
        wanted.rendering.forwards.iter().map(|forward| forward.listen.port).collect()
    }

    fn follow(path: &Path) -> Reloader {
        let mut reloader = Reloader::new(vec![Origin::of(path).unwrap()]);
        assert_eq!(reloader.first().problems, Vec::<String>::new());
        reloader
    }

    #[tokio::test]
    async fn a_file_written_in_place_or_replaced_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, draft) = (directory.path().join("a.yaml"), directory.path().join("a.yaml.tmp"));
        fs::write(&file, forward(1)).unwrap();
        let mut reloader = follow(&file);
        fs::write(&file, forward(2)).unwrap();
        assert_eq!(ports(&timeout(DEADLINE, reloader.next()).await.unwrap()), [2]);
        fs::write(&draft, forward(3)).unwrap();
        fs::rename(&draft, &file).unwrap();
        assert_eq!(ports(&timeout(DEADLINE, reloader.next()).await.unwrap()), [3]);
    }

    #[test]
    fn what_is_broken_or_gone_changes_nothing_and_the_same_text_is_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, forward(1)).unwrap();
        let mut reloader = follow(&file);
        for text in [&forward(1), &forward(2)[..50], &forward(2).replace("port", "prot"), "", &forward(1)] {
            fs::write(&file, text).unwrap();
            assert!(reloader.look().is_none(), "{text}");
        }
        fs::remove_file(&file).unwrap();
        assert!(reloader.look().is_none());
        fs::write(&file, forward(2)).unwrap();
        assert_eq!(ports(&reloader.look().unwrap()), [2]);
    }

    #[test]
    fn a_forward_whose_file_leaves_the_directory_is_no_longer_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, forward(1)).unwrap();
        let mut reloader = follow(directory.path());
        fs::remove_file(&file).unwrap();
        assert!(ports(&reloader.look().unwrap()).is_empty());
    }
}
