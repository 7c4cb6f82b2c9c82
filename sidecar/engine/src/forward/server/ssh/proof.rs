//! What a client of an SSH server was let in by. It is judged again whenever the client asks for something: a session
//! lasts, and logins and the times of keys may not.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use russh::keys::{Certificate, HashAlg, PublicKey};

use super::logins::Logins;
use crate::{
    secrets::Login,
    ssh::{Asker, Limits},
};

/// What a client showed.
#[derive(Debug)]
pub(super) enum Proof {
    Nothing,
    Password(Login),
    Key { user: String, key: PublicKey },
    Certificate { user: String, shown: Box<Certificate> },
}

impl Proof {
    /// What a client from this address may do by it now; none: it is no login.
    pub(super) fn limits(&self, logins: &Logins, ip: IpAddr) -> Option<Limits> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let asker = |user| Asker { user, ip, now };
        match self {
            Self::Nothing => logins.is_open().then(Limits::default),
            Self::Password(Login { user, password }) => {
                let found = logins.users.as_ref()?.find(user.as_bytes(), password.expose().as_bytes());
                found.map(|_| Limits::default())
            }
            Self::Key { user, key } => logins.keys.as_ref()?.limits_of_key(key, asker(user)),
            Self::Certificate { user, shown } => logins.keys.as_ref()?.limits_of_certificate(shown, asker(user)),
        }
    }

    /// Who holds what the client listens on; none where nobody is asked. A key is the same one by whatever name it comes.
    pub(super) fn owner(&self) -> Option<Arc<str>> {
        let of_key = |print: String| Arc::from(print);
        match self {
            Self::Nothing => None,
            Self::Password(login) => Some(Arc::from(login.user.as_str())),
            Self::Key { key, .. } => Some(of_key(key.fingerprint(HashAlg::Sha256).to_string())),
            Self::Certificate { shown, .. } => {
                Some(of_key(shown.public_key().fingerprint(HashAlg::Sha256).to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlead_config::url::Secret;
    use russh::keys::{PrivateKey, ssh_key::private::Ed25519Keypair};

    use super::*;

    #[test]
    fn ports_belong_to_a_key_and_not_to_the_name_it_comes_by() {
        let of_key = |user: &str, seed: u8| {
            let key = PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32])).public_key().clone();
            Proof::Key { user: user.to_owned(), key }.owner()
        };
        assert_eq!(of_key("ann", 1), of_key("bob", 1));
        assert_ne!(of_key("ann", 1), of_key("ann", 2));
        let login = Login { user: "ann".to_owned(), password: Secret::new("s3cret") };
        assert_eq!(Proof::Password(login).owner().as_deref(), Some("ann"));
        assert_eq!(Proof::Nothing.owner(), None);
    }
}
