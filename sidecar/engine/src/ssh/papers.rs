//! What a hop's files say about a session to come: who we are, and which host keys we trust. Read at every dial and
//! decoded once for each content, so that a rotated file means a new session and nothing else does.

use std::sync::{Arc, Mutex, PoisonError};

use fairlead_config::{HopCredentials, HopSsh};

use super::{
    login::{LoginFiles, SshLogin},
    trust::Trust,
};
use crate::secrets::Secrets;

/// Login and trust, ready to be used.
#[derive(Debug)]
pub(crate) struct Papers {
    sources: Sources,
    pub(super) login: SshLogin,
    pub(super) trust: Trust,
}

/// What the files held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sources {
    login: LoginFiles,
    known_hosts: Vec<Arc<[u8]>>,
}

/// A hop's papers as they were made last.
#[derive(Debug, Default)]
pub(crate) struct Drawer(Mutex<Option<(Sources, Made)>>);

type Made = Result<Arc<Papers>, String>;

impl PartialEq for Papers {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

impl Drawer {
    /// The papers by the files as they are now. The error is one line for people.
    pub(crate) fn papers(&self, credentials: Option<&HopCredentials>, ssh: &HopSsh, secrets: &Secrets) -> Made {
        let sources = Sources::read(credentials, ssh, secrets)?;
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, papers)) = made.as_ref().filter(|(of, _)| *of == sources) {
            return papers.clone();
        }
        let papers = Papers::make(sources.clone(), ssh).map(Arc::new);
        *made = Some((sources, papers.clone()));
        papers
    }
}

impl Sources {
    fn read(credentials: Option<&HopCredentials>, ssh: &HopSsh, secrets: &Secrets) -> Result<Self, String> {
        let login = credentials.map(|credentials| LoginFiles::read(credentials, secrets)).transpose()?;
        let (mut known_hosts, mut missing) = (Vec::new(), None);
        for path in &ssh.known_hosts {
            match secrets.read(path) {
                Ok(content) => known_hosts.push(content),
                Err(error) => missing = missing.or(Some(format!("{path}: {error}"))),
            }
        }
        match missing {
            Some(missing) if known_hosts.is_empty() && ssh.host_keys.is_empty() && !ssh.insecure_ignore_host_key => {
                Err(format!("known hosts: {missing}; write the server's line there (ssh-keyscan HOST, and compare)"))
            }
            Some(_) | None => Ok(Self { login: login.unwrap_or_default(), known_hosts }),
        }
    }
}

impl Papers {
    fn make(sources: Sources, ssh: &HopSsh) -> Result<Self, String> {
        let login = sources.login.login()?;
        let host_keys = ssh.host_keys.iter().map(|line| Trust::host_key(line)).collect::<Result<_, _>>()?;
        let mut trust = Trust { host_keys, anybody: ssh.insecure_ignore_host_key, ..Trust::default() };
        for content in &sources.known_hosts {
            trust.known_hosts.add(&String::from_utf8_lossy(content));
        }
        Ok(Self { sources, login, trust })
    }
}
