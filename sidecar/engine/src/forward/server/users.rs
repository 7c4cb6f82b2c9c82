//! Who may use a server: the logins of its files, compared in a time that tells nothing of how near a guess was.
//! Read anew whenever the files change; no password is in a `Debug`, an error or a log.

use std::{hint::black_box, sync::Arc};

use fairlead_config::ServerUsers;

use crate::secrets::{Login, Secrets};

/// The longest user and password in bytes; what SOCKS5 can say.
const LONGEST: usize = 255;
/// Logins that one server may have.
const USERS_LIMIT: usize = 1_000;

/// The logins of one server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Users(Vec<Login>);

impl Users {
    /// Reads the logins. The error is one line that names the Secret or file and no content.
    pub(crate) fn read(files: &ServerUsers, secrets: &Secrets) -> Result<Self, String> {
        let (name, logins) = secrets.users(files)?;
        let wrong = |what: &str| Err(format!("{name}: {what}"));
        match logins.iter().position(|login| login.user.len() > LONGEST || login.password.expose().len() > LONGEST) {
            Some(index) => {
                wrong(&format!("the user or password of login {} is longer than {LONGEST} bytes", index + 1))
            }
            None if logins.is_empty() => wrong("holds no login; write \"name:password\" in a line"),
            None if logins.len() > USERS_LIMIT => wrong(&format!("holds more than {USERS_LIMIT} logins")),
            None => Ok(Self(logins)),
        }
    }

    /// The first login.
    pub(crate) fn first(&self) -> Option<&Login> {
        self.0.first()
    }

    /// The user whose login it is, if it is anybody's. Every login is compared to its end.
    pub(crate) fn find(&self, user: &[u8], password: &[u8]) -> Option<Arc<str>> {
        let mut found = None;
        for login in &self.0 {
            let differs =
                difference(login.user.as_bytes(), user) | difference(login.password.expose().as_bytes(), password);
            if black_box(differs) == 0 {
                found = Some(login);
            }
        }
        found.map(|login| Arc::from(login.user.as_str()))
    }
}

/// Zero for equal texts, found in the same time for any two.
fn difference(known: &[u8], given: &[u8]) -> u8 {
    let byte = |text: &[u8], index: usize| text.get(index).copied().unwrap_or_default();
    let of_bytes = (0..LONGEST).fold(0, |sum, index| black_box(sum | (byte(known, index) ^ byte(given, index))));
    of_bytes | u8::from(known.len() != given.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Users, String> {
        let secrets = Secrets::default();
        secrets.replace([("memory:/s/logins/users".to_owned(), text.as_bytes().to_vec())].into_iter().collect());
        let files = ServerUsers { directory: Some("memory:/s/logins".to_owned()), ..ServerUsers::default() };
        Users::read(&files, &secrets)
    }

    #[test]
    fn a_login_is_somebodys_or_nobodys() {
        let users = read("ann:one\nbob:two:2\n\ncy:\n").unwrap();
        let find = |user: &str, password: &str| users.find(user.as_bytes(), password.as_bytes());
        for (user, password) in [("ann", "one"), ("bob", "two:2"), ("cy", "")] {
            assert_eq!(find(user, password).as_deref(), Some(user));
        }
        for (user, password) in
            [("ann", "two:2"), ("ann", ""), ("ann", "one\0"), ("", ""), ("dora", "one"), ("an", "none")]
        {
            assert_eq!(find(user, password), None, "{user}:{password}");
        }
        assert_eq!(find(&"a".repeat(300), "one"), None);
    }

    #[test]
    fn what_is_wrong_with_the_logins_is_said_without_them() {
        for (text, want) in [
            ("", "Secret \"logins\", key \"users\": holds no login; write \"name:password\" in a line"),
            ("ann\n", "Secret \"logins\", key \"users\": line 1 has no colon; write \"name:password\""),
            (
                &format!("ann:{}", "x".repeat(256)),
                "Secret \"logins\", key \"users\": the user or password of login 1 is longer than 255 bytes",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), want);
        }
        assert!(!format!("{:?}", read("ann:hunter2")).contains("hunter2"));
    }
}
