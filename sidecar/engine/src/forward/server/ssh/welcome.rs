//! What clients of an SSH server are met with: the key that it shows, who may log in, and a session's terms. Made of
//! files of the plan, for many clients at once. Invariant: no value is in an error; errors name the Secret's key or file.

use std::{borrow::Cow, sync::Arc, time::Duration};

use russh::{Preferred, SshId, keys::PrivateKey, server};

use super::logins::Logins;
use crate::{
    plan::ServerPlan,
    secrets::{Secrets, name_of_file},
    ssh::{ALGORITHMS, CHANNEL_MESSAGES, CIPHERS, FIRST_WINDOW, UNANSWERED, decode_key, sign_of_life_pause},
};

/// Logins that one connection may try.
const LOGIN_ATTEMPTS: usize = 6;
/// How long a wrong login takes to be found out.
const LOGIN_DELAY: Duration = Duration::from_secs(1);
/// A client that says nothing for three times as long is given up, and what it listens on is free.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What clients are met with.
pub(in crate::forward::server) struct Welcome {
    config: Arc<server::Config>,
    pub(super) logins: Logins,
}

impl Welcome {
    /// Reads what the plan names. The error is what keeps the server from letting anybody in, in one line.
    pub(in crate::forward::server) fn read(server: &ServerPlan, secrets: &Secrets) -> Result<Self, String> {
        let key = host_key(server, secrets)?;
        let logins = server.users.as_ref().map(|files| Logins::read(files, secrets)).transpose()?.unwrap_or_default();
        Ok(Self { config: Arc::new(config(key, &logins)), logins })
    }

    /// A session's terms, as `russh` wants them.
    pub(super) fn config(&self) -> Arc<server::Config> {
        Arc::clone(&self.config)
    }
}

fn host_key(server: &ServerPlan, secrets: &Secrets) -> Result<PrivateKey, String> {
    let Some(path) = &server.host_key else {
        return Err("the SSH server has no host key, and clients have to know it by one: make it with \
                    ssh-keygen -q -t ed25519 -N '' -f hostkey && kubectl create secret generic hostkey \
                    --type=kubernetes.io/ssh-auth --from-file=ssh-privatekey=hostkey, and name it in server.hostKey"
            .to_owned());
    };
    let key = secrets.read(path).and_then(|content| decode_key(&content));
    key.map_err(|error| format!("host key {}: {error}", name_of_file(path)))
}

fn config(key: PrivateKey, logins: &Logins) -> server::Config {
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Fairlead_", env!("CARGO_PKG_VERSION")))),
        methods: logins.methods(),
        auth_rejection_time: LOGIN_DELAY,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        window_size: FIRST_WINDOW,
        grant_on_arrival: false,
        channel_buffer_size: CHANNEL_MESSAGES,
        max_auth_attempts: LOGIN_ATTEMPTS,
        inactivity_timeout: None,
        keepalive_interval: Some(sign_of_life_pause(KEEP_ALIVE)),
        keepalive_max: UNANSWERED,
        preferred: Preferred { key: Cow::Borrowed(&ALGORITHMS), cipher: Cow::Borrowed(&CIPHERS), ..Preferred::DEFAULT },
        ..server::Config::default()
    }
}
