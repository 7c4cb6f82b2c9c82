//! The key that SSH servers of this machine show where none is named: made once and kept under the user's state
//! directory (XDG Base Directory Specification), so that clients know the server again. For `fairlead run` alone.

use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The key's file in the state directory.
const FILE: &str = "fairlead/ssh_host_ed25519_key";

/// Finds the key's file, or makes it. The error is one line for people.
pub(crate) fn path() -> Result<String, String> {
    let directory =
        state_directory().ok_or("there is no home directory to keep an SSH host key in; write ssh_key=FILE")?;
    let path = directory.join(FILE);
    keep(&path).map_err(|error| format!("{}: {error}; write ssh_key=FILE to name another host key", path.display()))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| "the home directory's name is no text; write ssh_key=FILE".to_owned())
}

fn state_directory() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
}

/// Of two that make it at the same time one wins, and both go on with its key.
fn keep(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!(".ssh_host_key-{}", std::process::id()));
    let key = fairlead_engine::new_ssh_host_key().map_err(io::Error::other)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(key.expose().as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_user_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state").join(FILE);
        keep(&path).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        assert!(first.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        keep(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }
}
