//! A directory that goes away with the test process. A control plane shared by tests is never dropped, so a shell
//! waits for the end of its standard input, which is the end of this process, and removes what is left.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Waits, then removes; a second time if a dying server wrote in between.
const REMOVE: &str = r#"cat; rm -rf "$1" || { sleep 1; rm -rf "$1"; }"#;

/// The directory.
pub(super) struct Scratch {
    path: PathBuf,
    remover: Child,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let path = tempfile::Builder::new().prefix("fairlead-cluster-").tempdir().expect("a directory").keep();
        let mut command = Command::new("sh");
        command.args(["-c", REMOVE, "sh"]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, so that Ctrl-C ends the tests first.
        let remover = command.process_group(0).current_dir("/").spawn().expect("start sh");
        Self { path, remover }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        let _ = self.remover.wait();
        let _ = fs::remove_dir_all(&self.path);
    }
}
