//! Who we are to an SSH server, from files: read at every dial, so that rotating them takes no restart, and decoded
//! once for each content. Invariant: no value is in a `Debug` or an error; errors name the file or the Secret's key.

use std::{fmt, sync::Arc};

use fairlead_config::{HopCredentials, url::Secret};
use russh::keys::{self, Certificate, PrivateKey, decode_secret_key, ssh_key};

use crate::secrets::{Secrets, name_of};

/// What the files held, to be compared with what they hold later.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct LoginFiles {
    user: Option<String>,
    password: Option<Arc<[u8]>>,
    keys: Vec<KeyFile>,
    agent: Option<String>,
}

/// One private key as it lies in its file.
#[derive(Clone, PartialEq, Eq)]
struct KeyFile {
    /// As errors call it.
    name: String,
    key: Arc<[u8]>,
    /// None: the password is tried.
    passphrase: Option<Arc<[u8]>>,
    /// What to do about a missing passphrase.
    advice: &'static str,
    certificate: Option<(String, Arc<[u8]>)>,
}

/// A login, ready to be used.
#[derive(Clone)]
pub(crate) struct SshLogin {
    pub(crate) user: String,
    pub(crate) keys: Vec<SshKey>,
    pub(crate) agent: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// A private key, perhaps with what an authority says of it.
#[derive(Clone)]
pub(crate) struct SshKey {
    pub(crate) key: Arc<PrivateKey>,
    pub(crate) certificate: Option<Certificate>,
}

impl fmt::Debug for LoginFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginFiles(***)")
    }
}

impl fmt::Debug for SshLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshLogin({} ***)", self.user)
    }
}

impl LoginFiles {
    /// Reads what credentials name. The error is one line for people.
    pub(crate) fn read(credentials: &HopCredentials, secrets: &Secrets) -> Result<Self, String> {
        let mut files = Self { agent: credentials.agent.clone(), ..Self::default() };
        if let Some(directory) = &credentials.directory {
            files.take_directory(directory, secrets)?;
        } else if let Some(file) = &credentials.file {
            let login = secrets.login(&HopCredentials { file: Some(file.clone()), ..HopCredentials::default() })?;
            files.user = Some(login.user);
            files.password = Some(login.password.expose().as_bytes().into());
        }
        for path in &credentials.keys {
            let key = secrets.read(path).map_err(|error| format!("{path}: {error}"))?;
            let certificate = format!("{path}-cert.pub");
            let certificate = secrets.read(&certificate).ok().map(|content| (certificate, content));
            let advice =
                "give it as password (secrets=FILE with \"user passphrase\"), or load the key into an ssh-agent";
            files.keys.push(KeyFile { name: path.clone(), key, passphrase: None, advice, certificate });
        }
        files.user = files.user.or_else(|| credentials.username.clone());
        Ok(files)
    }

    /// A mounted Secret: one file per key.
    fn take_directory(&mut self, directory: &str, secrets: &Secrets) -> Result<(), String> {
        let of_key = |key: &str| secrets.read(&format!("{directory}/{key}"));
        let name = |key: &str| name_of(directory, key);
        self.password = of_key("password").ok().map(|password| without_line_break(&password).into());
        self.user = of_key("username").ok().map(|user| text(&user, &name("username"))).transpose()?;
        match of_key("ssh-privatekey") {
            Ok(key) => self.keys.push(KeyFile {
                name: name("ssh-privatekey"),
                key,
                passphrase: of_key("passphrase").ok(),
                advice: "write it under the key \"passphrase\"",
                certificate: of_key("ssh-certificate").ok().map(|content| (name("ssh-certificate"), content)),
            }),
            Err(error) if self.password.is_none() => {
                return Err(format!("{}: {error}; write a private key there, or a password", name("ssh-privatekey")));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Decodes the files. The error is one line for people.
    pub(crate) fn login(&self) -> Result<SshLogin, String> {
        let user = self.user.clone().filter(|user| !user.is_empty());
        let user = user.ok_or("no user name; write it under the Secret's key \"username\", or as user@ in the URL")?;
        let password = self.password.as_ref().map(|password| text(password, "the password")).transpose()?;
        let decode = |file: &KeyFile| file.decode(password.as_deref());
        let keys = self.keys.iter().map(decode).collect::<Result<_, _>>()?;
        Ok(SshLogin { user, keys, agent: self.agent.clone(), password: password.map(Secret::new) })
    }
}

impl KeyFile {
    fn decode(&self, password: Option<&str>) -> Result<SshKey, String> {
        let own = self.passphrase.as_ref().map(|passphrase| text(passphrase, "the passphrase")).transpose()?;
        let content = text(&self.key, &self.name)?;
        // What is plain is not asked for a passphrase, which some forms would be mistaken for encrypted by.
        let key = match decode_secret_key(&content, None) {
            Ok(key) if key.is_encrypted() => None,
            Ok(key) => Some(key),
            Err(error) if is_about_a_passphrase(&content, &error) => None,
            Err(error) => return Err(self.unreadable(&error)),
        };
        let key = match (key, own.as_deref().or(password)) {
            (Some(key), _) => key,
            (None, None) => {
                return Err(format!("{}: is encrypted, and its passphrase is missing; {}", self.name, self.advice));
            }
            (None, Some(passphrase)) => decode_secret_key(&content, Some(passphrase)).map_err(|_| {
                format!("{}: is encrypted, and the passphrase does not fit; {}", self.name, self.advice)
            })?,
        };
        if key.algorithm().is_dsa() {
            return Err(format!("{}: DSA keys are out of use; make one with ssh-keygen -t ed25519", self.name));
        }
        let certificate = self.certificate.as_ref().map(|(name, content)| certificate(name, content, &key));
        Ok(SshKey { certificate: certificate.transpose()?, key: Arc::new(key) })
    }

    /// The crate's own words may quote the key.
    fn unreadable(&self, error: &keys::Error) -> String {
        let is_of_another_kind =
            matches!(error, keys::Error::UnsupportedKeyType { .. } | keys::Error::UnknownAlgorithm(_));
        let why = if is_of_another_kind { "is of an unknown kind" } else { "is no private key that can be read" };
        format!("{}: {why}; write one of ssh-keygen (ed25519, ecdsa or rsa), in OpenSSH or PEM form", self.name)
    }
}

fn is_about_a_passphrase(content: &str, error: &keys::Error) -> bool {
    matches!(
        error,
        keys::Error::KeyIsEncrypted | keys::Error::SshKey(ssh_key::Error::Encrypted | ssh_key::Error::Crypto)
    ) || content.contains("ENCRYPTED")
}

fn certificate(name: &str, content: &[u8], key: &PrivateKey) -> Result<Certificate, String> {
    let unreadable = || format!("{name}: is no user certificate; write what ssh-keygen -s made (…-cert.pub)");
    let certificate = Certificate::from_openssh(text(content, name)?.trim()).map_err(|_| unreadable())?;
    if !certificate.cert_type().is_user() {
        return Err(unreadable());
    }
    if certificate.public_key() != key.public_key().key_data() {
        return Err(format!("{name}: is for another key; sign the public half of this one"));
    }
    Ok(certificate)
}

fn text(content: &[u8], name: &str) -> Result<String, String> {
    let text = std::str::from_utf8(without_line_break(content)).map_err(|_| format!("{name}: is no text (UTF-8)"))?;
    Ok(text.to_owned())
}

/// Editors add one at the end.
fn without_line_break(content: &[u8]) -> &[u8] {
    let end = content.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &content[..end]
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
