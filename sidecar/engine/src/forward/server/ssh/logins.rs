//! Who may log in to an SSH server, and the key that it shows: files of the plan, read at each login, so that rotating
//! them takes no restart. Invariant: no value is in an error; errors name the Secret's key or the file.

use std::sync::Arc;

use fairlead_config::ServerUsers;
use russh::{MethodKind, MethodSet, keys::PrivateKey};

use super::super::{session::Session, users::Users};
use crate::{
    plan::ServerPlan,
    secrets::Secrets,
    ssh::{AuthorizedKeys, decode_key},
};

/// The logins of one server.
#[derive(Debug, Clone, Default)]
pub(in crate::forward::server) struct Logins {
    pub(super) users: Option<Arc<Users>>,
    pub(super) keys: Option<Arc<AuthorizedKeys>>,
}

impl Logins {
    /// Reads what the session's server names.
    pub(super) fn read(session: &Session) -> Result<Self, String> {
        session
            .running
            .server
            .users
            .as_ref()
            .map_or(Ok(Self::default()), |files| Self::of(files, &session.shared.secrets))
    }

    /// Reads files. One kind of login is enough; without any nobody could log in, which is an error.
    fn of(files: &ServerUsers, secrets: &Secrets) -> Result<Self, String> {
        let keys = keys(files, secrets)?;
        match Users::read(files, secrets) {
            Ok(users) => Ok(Self { users: Some(Arc::new(users)), keys }),
            Err(_) if keys.is_some() && !has_users(files, secrets) => Ok(Self { users: None, keys }),
            Err(error) => Err(error),
        }
    }

    /// Whether everybody may log in.
    pub(super) fn is_open(&self) -> bool {
        self.users.is_none() && self.keys.is_none()
    }

    /// How clients may say who they are.
    pub(super) fn methods(&self) -> MethodSet {
        let password = self.users.is_some().then_some(MethodKind::Password);
        let key = self.keys.is_some().then_some(MethodKind::PublicKey);
        let none = self.is_open().then_some(MethodKind::None);
        let methods: Vec<_> = [none, key, password].into_iter().flatten().collect();
        MethodSet::from(methods.as_slice())
    }
}

/// What keeps a server from letting anybody in, in one line.
pub(in crate::forward::server) fn lack(server: &ServerPlan, secrets: &Secrets) -> Option<String> {
    let key = read_host_key(server, secrets).err();
    key.or_else(|| Logins::of(server.users.as_ref()?, secrets).err())
}

/// The key that the session's server shows.
pub(super) fn host_key(session: &Session) -> Result<PrivateKey, String> {
    read_host_key(&session.running.server, &session.shared.secrets)
}

fn read_host_key(server: &ServerPlan, secrets: &Secrets) -> Result<PrivateKey, String> {
    let Some(path) = &server.host_key else {
        return Err("the SSH server has no host key, and clients have to know it by one: make it with \
                    ssh-keygen -q -t ed25519 -N '' -f hostkey && kubectl create secret generic hostkey \
                    --type=kubernetes.io/ssh-auth --from-file=ssh-privatekey=hostkey, and name it in server.hostKey"
            .to_owned());
    };
    let content = secrets.read(path).map_err(|error| format!("host key {}: {error}", named(path)))?;
    decode_key(&content).map_err(|error| format!("host key {}: {error}", named(path)))
}

fn keys(files: &ServerUsers, secrets: &Secrets) -> Result<Option<Arc<AuthorizedKeys>>, String> {
    let path = match (&files.authorized_keys, &files.directory) {
        (Some(path), _) => path.clone(),
        (None, Some(directory)) => format!("{directory}/authorized_keys"),
        (None, None) => return Ok(None),
    };
    let content = match secrets.read(&path) {
        Ok(content) => content,
        Err(_) if files.authorized_keys.is_none() => return Ok(None),
        Err(error) => return Err(format!("{path}: {error}")),
    };
    let text = std::str::from_utf8(&content).map_err(|_| format!("{}: is no text (UTF-8)", named(&path)))?;
    let keys = AuthorizedKeys::read(text);
    for problem in &keys.problems {
        tracing::debug!(file = named(&path), problem, "a line of authorized_keys is left out");
    }
    match keys.problems.first() {
        Some(problem) if keys.is_empty() => Err(format!("{}: no line lets anybody in; {problem}", named(&path))),
        _ => Ok(Some(Arc::new(keys))),
    }
}

/// Whether there are passwords at all, fit or not.
fn has_users(files: &ServerUsers, secrets: &Secrets) -> bool {
    let in_secret =
        files.directory.as_ref().is_some_and(|directory| secrets.read(&format!("{directory}/users")).is_ok());
    in_secret || files.file.is_some()
}

/// A Secret's key or a file, as errors call it.
fn named(path: &str) -> String {
    let mut parts = path.rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(key), Some(secret)) if path.contains("/secrets/") => format!("Secret {secret:?}, key {key:?}"),
        _ => path.to_owned(),
    }
}
