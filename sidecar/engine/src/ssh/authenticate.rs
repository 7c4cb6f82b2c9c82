//! Logging in (RFC 4252): certificates and keys, the agent's keys, then the password; as far as the server takes each.
//! Signatures of RSA keys use SHA-2 alone.

use std::{collections::BTreeSet, sync::Arc};

use russh::{
    AgentAuthError, MethodKind, Signer,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{
        HashAlg, PrivateKey, PrivateKeyWithHashAlg,
        agent::{AgentIdentity, client::AgentClient},
        signature,
        ssh_encoding::Encode,
        ssh_key::Signature,
    },
};

use super::{
    handler::Watch,
    login::{SshKey, SshLogin},
};
use crate::dial::DialCause;

/// Keys of an agent that are tried; servers end a connection after some six failures.
const AGENT_KEYS: usize = 5;
/// Questions that are answered with the password, one after the other.
const QUESTIONS: usize = 3;

/// How a login stands.
struct Progress<'a> {
    handle: &'a mut Handle<Watch>,
    login: &'a SshLogin,
    /// What the server would still take; none before its first answer.
    takes: Option<BTreeSet<&'static str>>,
}

/// Logs in. The error is the hop's, and names no value.
pub(super) async fn authenticate(handle: &mut Handle<Watch>, login: &SshLogin) -> Result<(), DialCause> {
    let mut progress = Progress { handle, login, takes: None };
    let mut done = progress.by_keys().await?;
    done = done || progress.by_agent().await?;
    done = done || progress.by_password().await?;
    // Nothing to offer, or nothing was taken: some servers want no proof at all.
    done = done || (progress.takes.is_none() && progress.by_nothing().await?);
    if done { Ok(()) } else { Err(progress.refusal()) }
}

impl Progress<'_> {
    async fn by_keys(&mut self) -> Result<bool, DialCause> {
        for key in &self.login.keys {
            if self.may(MethodKind::PublicKey) && self.by_key(key).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn by_key(&mut self, key: &SshKey) -> Result<bool, DialCause> {
        let hash = if key.key.algorithm().is_rsa() { self.rsa_hash().await? } else { None };
        let user = self.login.user.clone();
        if let Some(certificate) = &key.certificate {
            let mut signer = Own(Arc::clone(&key.key));
            let tried = self.handle.authenticate_certificate_with(&user, certificate.clone(), hash, &mut signer).await;
            if self.passed(tried.map_err(broken)?) {
                return Ok(true);
            }
        }
        let own = PrivateKeyWithHashAlg::new(Arc::clone(&key.key), hash);
        let tried = self.handle.authenticate_publickey(user, own).await.map_err(broken)?;
        Ok(self.passed(tried))
    }

    async fn by_agent(&mut self) -> Result<bool, DialCause> {
        let Some(socket) = &self.login.agent else { return Ok(false) };
        // An agent that is gone is no reason not to try the password.
        let Ok(mut agent) = AgentClient::connect_uds(socket).await else { return Ok(false) };
        let identities = agent.request_identities().await.unwrap_or_default();
        for identity in identities.into_iter().take(AGENT_KEYS) {
            if !self.may(MethodKind::PublicKey) {
                break;
            }
            let user = self.login.user.clone();
            let is_rsa = identity.public_key().algorithm().is_rsa();
            let hash = if is_rsa { self.rsa_hash().await? } else { None };
            let tried = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle.authenticate_publickey_with(user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle.authenticate_certificate_with(user, certificate, hash, &mut agent).await
                }
            };
            // A key that the agent won't sign with is one key less.
            if let Ok(tried) = tried
                && self.passed(tried)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn by_password(&mut self) -> Result<bool, DialCause> {
        let Some(password) = &self.login.password else { return Ok(false) };
        let (user, password) = (self.login.user.clone(), password.expose().to_owned());
        if self.may(MethodKind::Password) {
            let tried = self.handle.authenticate_password(&user, &password).await.map_err(broken)?;
            if self.passed(tried) {
                return Ok(true);
            }
        }
        if self.may(MethodKind::KeyboardInteractive) { self.by_answers(user, &password).await } else { Ok(false) }
    }

    /// Answers whatever may not be shown with the password, as a person would.
    async fn by_answers(&mut self, user: String, password: &str) -> Result<bool, DialCause> {
        let mut said = self.handle.authenticate_keyboard_interactive_start(user, None).await.map_err(broken)?;
        for _ in 0..=QUESTIONS {
            match said {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                    return Ok(self.passed(AuthResult::Failure { remaining_methods, partial_success }));
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let answer = |echo: bool| if echo { String::new() } else { password.to_owned() };
                    let answers = prompts.iter().map(|prompt| answer(prompt.echo)).collect();
                    let next = self.handle.authenticate_keyboard_interactive_respond(answers).await;
                    said = next.map_err(broken)?;
                }
            }
        }
        Ok(false)
    }

    async fn by_nothing(&mut self) -> Result<bool, DialCause> {
        let tried = self.handle.authenticate_none(self.login.user.clone()).await.map_err(broken)?;
        Ok(self.passed(tried))
    }

    /// SHA-2 by what the server knows of; a server that says nothing of it may still know.
    async fn rsa_hash(&self) -> Result<Option<HashAlg>, DialCause> {
        match self.handle.best_supported_rsa_hash().await.map_err(broken)? {
            Some(None) => Err(DialCause::Login(
                "the server takes RSA keys with SHA-1 only, which is out of use; log in with an ed25519 key".to_owned(),
            )),
            Some(hash) => Ok(hash),
            None => Ok(Some(HashAlg::Sha512)),
        }
    }

    fn may(&self, method: MethodKind) -> bool {
        self.takes.as_ref().is_none_or(|takes| takes.contains(<&'static str>::from(&method)))
    }

    /// Whether that was it; keeps what the server would take next.
    fn passed(&mut self, tried: AuthResult) -> bool {
        match tried {
            AuthResult::Success => true,
            AuthResult::Failure { remaining_methods, .. } => {
                self.takes = Some(remaining_methods.iter().map(<&'static str>::from).collect());
                false
            }
        }
    }

    fn refusal(&self) -> DialCause {
        let takes = self.takes.clone().unwrap_or_default();
        let user = &self.login.user;
        if takes.is_empty() {
            return DialCause::Login(format!("login as {user:?}: the server ended the connection"));
        }
        let takes = takes.into_iter().collect::<Vec<_>>().join(", ");
        DialCause::Login(format!("login as {user:?} refused; the server takes {takes}"))
    }
}

/// A key of our own that signs for its certificate.
struct Own(Arc<PrivateKey>);

impl Signer for Own {
    type Error = AgentAuthError;

    /// The text to be signed comes back with its signature behind it.
    async fn auth_sign(
        &mut self,
        _of: &AgentIdentity,
        _hash: Option<HashAlg>,
        mut text: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let unfit = |_| AgentAuthError::Key(russh::keys::Error::InvalidSignature);
        let signed: Signature = signature::Signer::try_sign(&*self.0, &text).map_err(unfit)?;
        let unfit = |_| AgentAuthError::Key(russh::keys::Error::InvalidSignature);
        signed.encode_prefixed(&mut text).map_err(unfit)?;
        Ok(text)
    }
}

fn broken(error: impl std::fmt::Display) -> DialCause {
    DialCause::Handshake(format!("ssh: the login broke off: {error}"))
}
