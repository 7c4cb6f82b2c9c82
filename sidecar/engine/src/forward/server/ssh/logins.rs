//! Who may log in to an SSH server, from files of the plan. Invariant: no value is in an error; errors name the Secret's
//! key or the file.

use std::sync::Arc;

use fairlead_config::ServerUsers;
use russh::{MethodKind, MethodSet};

use super::super::users::Users;
use crate::{
    secrets::{Secrets, name_of_file},
    ssh::AuthorizedKeys,
};

/// The logins of one server.
#[derive(Debug, Clone, Default)]
pub(super) struct Logins {
    pub(super) users: Option<Arc<Users>>,
    pub(super) keys: Option<Arc<AuthorizedKeys>>,
}

impl Logins {
    /// Reads files. One kind of login is enough; without any nobody could log in, which is an error.
    pub(super) fn read(files: &ServerUsers, secrets: &Secrets) -> Result<Self, String> {
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

fn keys(files: &ServerUsers, secrets: &Secrets) -> Result<Option<Arc<AuthorizedKeys>>, String> {
    let path = match (&files.authorized_keys, &files.directory) {
        (Some(path), _) => path.clone(),
        (None, Some(directory)) => format!("{directory}/authorized_keys"),
        (None, None) => return Ok(None),
    };
    let content = match secrets.read(&path) {
        Ok(content) => content,
        Err(_) if files.authorized_keys.is_none() => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", name_of_file(&path))),
    };
    let text = std::str::from_utf8(&content).map_err(|_| format!("{}: is no text (UTF-8)", name_of_file(&path)))?;
    let keys = AuthorizedKeys::read(text);
    for problem in &keys.problems {
        tracing::debug!(file = name_of_file(&path), problem, "a line of authorized_keys is left out");
    }
    match keys.problems.first() {
        Some(problem) if keys.is_empty() => Err(format!("{}: no line lets anybody in; {problem}", name_of_file(&path))),
        _ => Ok(Some(Arc::new(keys))),
    }
}

/// Whether there are passwords at all, fit or not.
fn has_users(files: &ServerUsers, secrets: &Secrets) -> bool {
    let in_secret =
        files.directory.as_ref().is_some_and(|directory| secrets.read(&format!("{directory}/users")).is_ok());
    in_secret || files.file.is_some()
}
