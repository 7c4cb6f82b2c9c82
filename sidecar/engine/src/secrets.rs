//! Files with credentials, authorities and keys, read when a hop is dialled, so that rotating them takes no restart.
//! What a command line or a manifest brought along stands in memory instead, under names that no file has.
//! Invariant: no value is in a `Debug`, an error or a log.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs, io,
    io::Read,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use fairlead_config::{HopCredentials, ServerUsers, url::Secret};

/// How long what was read is used.
const FRESH: Duration = Duration::from_secs(1);
/// Files kept; beyond it all are forgotten.
const FILES_LIMIT: usize = 1_024;
/// The largest file in bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// Contents that stand in for files, by path. Debug shows how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretFiles(BTreeMap<String, Vec<u8>>);

/// Reads files, and what stands in for them.
#[derive(Default)]
pub(crate) struct Secrets {
    memory: ArcSwap<SecretFiles>,
    files: Mutex<HashMap<String, (Instant, Found)>>,
}

type Found = Result<Arc<[u8]>, String>;

/// A user and a password, as a hop is told them or a client tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl fmt::Debug for SecretFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFiles({} ***)", self.0.len())
    }
}

impl FromIterator<(String, Vec<u8>)> for SecretFiles {
    fn from_iter<T: IntoIterator<Item = (String, Vec<u8>)>>(files: T) -> Self {
        Self(files.into_iter().collect())
    }
}

impl Secrets {
    /// Replaces what stands in for files.
    pub(crate) fn replace(&self, files: SecretFiles) {
        self.memory.store(Arc::new(files));
    }

    /// The content of a file. The error says what is wrong without the path.
    pub(crate) fn read(&self, path: &str) -> Found {
        if let Some(content) = self.memory.load().0.get(path) {
            return Ok(content.as_slice().into());
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = files.get(path).filter(|(at, _)| at.elapsed() < FRESH) {
            return found.clone();
        }
        if files.len() >= FILES_LIMIT {
            files.clear();
        }
        let found = read_file(Path::new(path));
        files.insert(path.to_owned(), (Instant::now(), found.clone()));
        found
    }

    /// The login that credentials name. The error is one line that names the file and never its content.
    pub(crate) fn login(&self, credentials: &HopCredentials) -> Result<Login, String> {
        let username = credentials.username.clone();
        match (&credentials.directory, &credentials.file) {
            (Some(directory), _) => self.login_in(directory, username),
            (None, Some(file)) => self.login_of(file),
            (None, None) => Ok(Login { user: username.unwrap_or_default(), password: Secret::new("") }),
        }
    }

    /// A mounted Secret: one file per key.
    fn login_in(&self, directory: &str, username: Option<String>) -> Result<Login, String> {
        let text = |key: &str| self.text(&format!("{directory}/{key}"));
        let key = |key: &str| text(key).map_err(|error| format!("{}: {error}", name_of(directory, key)));
        let user = match (key("username"), username) {
            (Ok(user), _) | (Err(_), Some(user)) => user,
            (Err(error), None) => return Err(error),
        };
        Ok(Login { user, password: Secret::new(key("password")?) })
    }

    /// A file of logins, `user password` a line; ours is the first.
    fn login_of(&self, file: &str) -> Result<Login, String> {
        let text = self.text(file).map_err(|error| format!("{file}: {error}"))?;
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let line = line.ok_or_else(|| format!("{file}: holds no login; write \"user password\" in a line"))?;
        let (user, password) = split_at_space(line);
        Ok(Login { user: user.to_owned(), password: Secret::new(password) })
    }

    /// The logins of a server, and what to call their source. The error is one line without their content.
    pub(crate) fn users(&self, files: &ServerUsers) -> Result<(String, Vec<Login>), String> {
        match (&files.directory, &files.file) {
            (Some(directory), _) => {
                let name = name_of(directory, "users");
                let text = self.text(&format!("{directory}/users")).map_err(|error| format!("{name}: {error}"))?;
                let logins = logins(&text, |line| line.split_once(':'));
                let no_colon = |line| format!("{name}: line {line} has no colon; write \"name:password\"");
                Ok((name.clone(), logins.map_err(no_colon)?))
            }
            (None, file) => {
                let file = file.clone().unwrap_or_default();
                let text = self.text(&file).map_err(|error| format!("{file}: {error}"))?;
                Ok((file, logins(&text, |line| Some(split_at_space(line))).unwrap_or_default()))
            }
        }
    }

    /// A file's text without the line break at its end, which editors add.
    fn text(&self, path: &str) -> Result<String, String> {
        let content = self.read(path)?;
        let text = std::str::from_utf8(&content).map_err(|_| "is no text (UTF-8)".to_owned())?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// GOST's spelling of a login.
fn split_at_space(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (user, password) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (user, password.trim_start())
}

/// The logins of all lines but empty ones and comments; the error is the number of a line that holds none.
fn logins(text: &str, of_line: impl Fn(&str) -> Option<(&str, &str)>) -> Result<Vec<Login>, usize> {
    let lines = text.lines().zip(1_usize..);
    let lines = lines.filter(|(line, _)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines
        .map(|(line, number)| {
            let (user, password) = of_line(line).ok_or(number)?;
            Ok(Login { user: user.to_owned(), password: Secret::new(password) })
        })
        .collect()
}

/// A mounted Secret's key, as errors call it.
pub(crate) fn name_of(directory: &str, key: &str) -> String {
    let secret = directory.rsplit('/').next().unwrap_or(directory);
    format!("Secret {secret:?}, key {key:?}")
}

/// A file as errors call it: a mounted Secret's key, or its path.
pub(crate) fn name_of_file(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, key)) if directory.contains("/secrets/") => name_of(directory, key),
        Some(_) | None => path.to_owned(),
    }
}

fn read_file(path: &Path) -> Found {
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        fs::File::open(path)?.take(SIZE_LIMIT + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        Ok(content) if content.len() as u64 > SIZE_LIMIT => Err(format!("is larger than {SIZE_LIMIT} bytes")),
        Ok(content) => Ok(content.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("is not there".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn secrets(files: &[(&str, &str)]) -> Secrets {
        let secrets = Secrets::default();
        secrets.replace(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect());
        secrets
    }

    fn in_directory(username: Option<&str>) -> HopCredentials {
        let (username, directory) = (username.map(str::to_owned), Some("memory:/s/a".to_owned()));
        HopCredentials { username, directory, ..HopCredentials::default() }
    }

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.to_owned(), password: Secret::new(password) }
    }

    #[test]
    fn a_secrets_keys_are_user_and_password_and_their_last_line_break_is_not() {
        let both = secrets(&[("memory:/s/a/username", "ann\n"), ("memory:/s/a/password", "pa ss\r\n")]);
        assert_eq!(both.login(&in_directory(None)), Ok(login("ann", "pa ss")));
        assert_eq!(both.login(&in_directory(Some("bob"))), Ok(login("ann", "pa ss")), "the Secret's own user wins");
        let password = secrets(&[("memory:/s/a/password", "x")]);
        assert_eq!(password.login(&in_directory(Some("bob"))), Ok(login("bob", "x")));
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is() {
        let user = secrets(&[("memory:/s/a/username", "ann")]);
        let error = user.login(&in_directory(None)).unwrap_err();
        assert_eq!(error, "Secret \"a\", key \"password\": is not there");
        let password = secrets(&[("memory:/s/a/password", "hunter2")]);
        let error = password.login(&in_directory(None)).unwrap_err();
        assert_eq!(error, "Secret \"a\", key \"username\": is not there");
        assert!(!format!("{:?}", password.memory.load()).contains("hunter2"));
    }

    #[test]
    fn a_mounted_secret_is_called_by_its_name_and_a_file_by_its_path() {
        for (path, want) in [
            ("/etc/fairlead/secrets/hostkey/ssh-privatekey", "Secret \"hostkey\", key \"ssh-privatekey\""),
            ("memory:/secrets/shop/hostkey/ssh-privatekey", "Secret \"hostkey\", key \"ssh-privatekey\""),
            ("/home/ann/secrets/hostkey", "/home/ann/secrets/hostkey"),
            ("hostkey", "hostkey"),
        ] {
            assert_eq!(name_of_file(path), want);
        }
    }

    #[test]
    fn the_first_login_of_a_file_is_ours() {
        for (text, want) in [
            ("# users\n\nann secret\nbob other\n", Some(login("ann", "secret"))),
            ("ann   a b\n", Some(login("ann", "a b"))),
            ("ann", Some(login("ann", ""))),
            ("# nobody\n", None),
        ] {
            let file = HopCredentials { file: Some("memory:f".to_owned()), ..HopCredentials::default() };
            assert_eq!(secrets(&[("memory:f", text)]).login(&file).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn a_changed_file_is_read_anew_once_the_old_content_has_aged() {
        let path = std::env::temp_dir().join(format!("fairlead-secret-{}", std::process::id()));
        let name = path.to_str().unwrap();
        let secrets = Secrets::default();
        assert_eq!(secrets.read(name).unwrap_err(), "is not there");
        fs::write(&path, "one").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while secrets.read(name).is_err() {
            assert!(Instant::now() < deadline, "the file is never seen");
            std::thread::yield_now();
        }
        assert_eq!(&*secrets.read(name).unwrap(), b"one");
        fs::remove_file(&path).unwrap();
    }
}
