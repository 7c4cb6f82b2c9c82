//! Notices that files may have changed, from the system to whoever reads them anew. Directories are watched, not
//! files: editors and kubelets replace files. Invariant: a change is never missed, at worst it is noticed by looking
//! again every two seconds (where a directory can't be watched, or isn't there yet).

use std::{path::PathBuf, sync::Arc, time::Duration};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How long further changes are awaited after the first: a file is written in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// How often to look where nothing can be watched.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A watch over directories.
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    touched: Arc<Notify>,
    /// Every directory is watched.
    complete: bool,
    /// When the present wait is over; these are kept here so that giving up a wait loses nothing.
    due: Option<Instant>,
    look_again: Instant,
}

impl Watch {
    /// A watch over nothing yet.
    pub(crate) fn new() -> Self {
        let touched = Arc::new(Notify::new());
        let ring = Arc::clone(&touched);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| may_change(&event.kind)) {
                ring.notify_one();
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files can't be watched; looking at them every {LOOK_AGAIN:?} instead");
        }
        Self { watcher: watcher.ok(), touched, complete: false, due: None, look_again: Instant::now() + LOOK_AGAIN }
    }

    /// Watches these directories from now on. To be called before each reading, since a directory that was
    /// replaced is another one.
    pub(crate) fn arm(&mut self, directories: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        self.complete = true;
        for directory in directories {
            // The system ignores a second watch over the same directory.
            self.complete &= watcher.watch(directory, RecursiveMode::NonRecursive).is_ok();
        }
    }

    /// Waits until something may have changed. Nothing is lost when the wait is given up.
    pub(crate) async fn changed(&mut self) {
        if self.due.is_none() {
            tokio::select! {
                () = self.touched.notified() => self.due = Some(Instant::now() + SETTLE),
                () = sleep_until(self.look_again), if !self.complete => {}
            }
        }
        self.look_again = Instant::now() + LOOK_AGAIN;
        if let Some(due) = self.due {
            sleep_until(due).await;
            self.due = None;
        }
    }
}

/// Reading a file is an event as well, and no change.
fn may_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn reading_is_no_change() {
        let (read, written) = (AccessKind::Close(AccessMode::Read), AccessKind::Close(AccessMode::Write));
        assert!(!may_change(&EventKind::Access(read)));
        assert!(!may_change(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(may_change(&EventKind::Access(written)));
        assert!(may_change(&EventKind::Any));
    }

    #[tokio::test]
    async fn a_file_written_replaced_or_removed_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut watch = Watch::new();
        watch.arm(&[directory.path().to_owned()]);
        assert!(watch.complete);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(path("a"), "1").unwrap(),
            &|| fs::write(path("b"), "2").unwrap(),
            &|| fs::rename(path("b"), path("a")).unwrap(),
            &|| fs::remove_file(path("a")).unwrap(),
        ];
        for change in changes {
            change();
            timeout(DEADLINE, watch.changed()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_swap_of_a_mounted_config_map_is_noticed() {
        let mount = tempfile::tempdir().unwrap();
        let path = |name: &str| mount.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("config.yaml"), version).unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/config.yaml", path("config.yaml")).unwrap();
        let mut watch = Watch::new();
        watch.arm(&crate::source::directories_of(&path("config.yaml")));
        symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
        assert_eq!(fs::read_to_string(path("config.yaml")).unwrap(), "..2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_is_not_there_yet_is_looked_for_again_and_again() {
        let mut watch = Watch::new();
        watch.arm(&[PathBuf::from("/not/there")]);
        let before = Instant::now();
        watch.changed().await;
        assert_eq!(before.elapsed(), LOOK_AGAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_given_up_loses_no_change() {
        let mut watch = Watch::new();
        watch.complete = true;
        watch.touched.notify_one();
        assert!(timeout(SETTLE / 2, watch.changed()).await.is_err());
        timeout(SETTLE, watch.changed()).await.unwrap();
    }
}
