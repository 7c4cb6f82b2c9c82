//! User and password of a node URL, from `user:pass@` or `auth=`.
//! Invariant: a [`Secret`] shows itself to nobody who doesn't call [`Secret::expose`].

use std::fmt;

use super::percent::{EscapeError, decode, encode};

/// A text that Debug prints as `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself; for handshakes and for files only their owner reads.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who a node is asked as (`-F`) or who may use a server (`-L`). For `ss` the user is the cipher.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    pub user: String,
    /// `None` where no colon was written; an empty password is a password.
    pub password: Option<Secret>,
}

/// Why `auth=` is no `user:pass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is no base64 of user:pass: write user:pass@ before the host instead")]
pub struct AuthError;

impl Credentials {
    /// Reads what stands before the `@`.
    pub(super) fn of_userinfo(text: &str) -> Result<Self, EscapeError> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (text, None),
        };
        let password = password.map(decode).transpose()?.map(Secret);
        Ok(Self { user: decode(user)?, password })
    }

    /// Reads the value of `auth=`: base64 of `user:pass`.
    pub fn of_auth(text: &str) -> Result<Self, AuthError> {
        let text = base64(text).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(AuthError)?;
        let (user, password) = text.split_once(':').ok_or(AuthError)?;
        Ok(Self { user: user.to_owned(), password: Some(Secret::new(password)) })
    }

    /// Writes `user:pass@`, with `***` for the password when `redacted`.
    pub(super) fn to_userinfo(&self, redacted: bool) -> String {
        let user = encode(&self.user, "");
        match &self.password {
            None => format!("{user}@"),
            Some(_) if redacted => format!("{user}:***@"),
            Some(password) => format!("{user}:{}@", encode(password.expose(), "")),
        }
    }
}

/// Decodes base64 in the standard or the URL alphabet, padded or not. An unescaped `+` arrives as a space.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if digits.len() % 4 == 1 || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        bits = (bits << 6 | sextet(digit)?) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' | b' ' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_read_as_go_reads_them() {
        for (text, user, password) in [
            ("user:pass", "user", Some("pass")),
            ("user", "user", None),
            ("user:", "user", Some("")),
            (":pass", "", Some("pass")),
            ("a%40b:c%3Ad:e", "a@b", Some("c:d:e")),
            ("a+b:c+d", "a+b", Some("c+d")),
        ] {
            let credentials = Credentials::of_userinfo(text).unwrap();
            assert_eq!(credentials.user, user, "{text}");
            assert_eq!(credentials.password.as_ref().map(Secret::expose), password, "{text}");
            let printed = credentials.to_userinfo(false);
            assert_eq!(Credentials::of_userinfo(printed.trim_end_matches('@')).unwrap(), credentials);
        }
    }

    #[test]
    fn auth_is_base64_of_both() {
        for text in ["dXNlcjpwYXNz", "dXNlcjpwYXNz="] {
            let credentials = Credentials::of_auth(text).unwrap();
            assert_eq!(credentials.to_userinfo(false), "user:pass@");
        }
        assert_eq!(Credentials::of_auth("YTo/Pz8+").unwrap().to_userinfo(false), "a:%3F%3F%3F%3E@");
        assert_eq!(Credentials::of_auth("YTo_Pz8 ").unwrap().to_userinfo(false), "a:%3F%3F%3F%3E@");
        for text in ["", "dXNlcg==", "!", "dXNlcjpwYXNzA", "dXNlcjpwYXNz===", "/w=="] {
            assert_eq!(Credentials::of_auth(text), Err(AuthError), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials::of_userinfo("user:hunter2").unwrap();
        assert_eq!(credentials.to_userinfo(true), "user:***@");
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
