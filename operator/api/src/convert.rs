//! GOST command lines to PortForwards, for `fairlead run -L` and `fairlead convert`: pure, all problems at once.
//! Invariant: no password leaves here but in a Secret document. Files that options name are not read.

mod flags;
mod forward;
mod hop;
mod notes;
mod secret;
mod ssh;

#[cfg(test)]
mod tests;

use std::fmt;

use fairlead_config::{Support, url::NodeUrl, yaml};
use serde_json::json;

use crate::{
    Hop, PortForward, PortForwardSpec, Server,
    manifest::{DEFAULT_NAMESPACE, Secret},
    render::{self, AcceptedReason, Place, Verdict},
    schema::{self, Problem},
};
use flags::Flags;
use notes::Notes;
use secret::SecretDocument;
pub use ssh::{SshFlags, ssh};

/// The objects that `fairlead run -L … -F …` stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandLine {
    /// One per `-L`, with `spec.url`.
    pub objects: Vec<PortForward>,
    /// What needs care and rendering the objects won't say, one line each, with the flag and its number.
    pub warnings: Vec<String>,
    /// The Secrets that the objects name, one per flag with a password.
    pub secrets: Vec<Secret>,
}

/// The manifests that a command line becomes. Debug shows none of them, since one may be a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Conversion {
    /// YAML documents, without separators between them: PortForwards, then the Secrets they name.
    pub documents: Vec<String>,
    /// What differs from GOST or needs care, one line each, with the flag and its number.
    pub warnings: Vec<String>,
}

/// Makes the objects that a command line stands for; `Err` holds every problem, each with its flag and its number.
pub fn command_line(listen: &[String], forward: &[String]) -> Result<CommandLine, Vec<String>> {
    let flags = Flags::parse(listen, forward)?;
    Ok(CommandLine {
        objects: with_urls(&flags),
        warnings: flags.url_warnings(),
        secrets: [hop_secrets(&flags), users_secrets(&flags)].concat(),
    })
}

/// Makes manifests with fields from a command line; `Err` holds every problem, each with its flag and its number.
pub fn convert(listen: &[String], forward: &[String]) -> Result<Conversion, Vec<String>> {
    let flags = Flags::parse(listen, forward)?;
    let problems = refusals(&flags);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut notes = Notes::default();
    let (objects, secrets) = with_fields(&flags, &mut notes);
    note_what_no_version_runs(&flags, &mut notes);
    let problems = misshapen(&objects);
    if !problems.is_empty() {
        return Err(problems);
    }
    let objects = objects.iter().map(yaml::to_string);
    let secrets = secrets.iter().map(yaml::to_string);
    let documents: Result<Vec<_>, _> = objects.chain(secrets).collect();
    Ok(Conversion { documents: documents.map_err(|error| vec![error.to_string()])?, warnings: notes.lines() })
}

impl fmt::Debug for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let documents = format!("{} documents", self.documents.len());
        f.debug_struct("Conversion").field("documents", &documents).field("warnings", &self.warnings).finish()
    }
}

fn with_urls(flags: &Flags) -> Vec<PortForward> {
    let hop = |(index, url): (usize, &NodeUrl)| Hop {
        url: Some(url.clone().without_secrets().to_string()),
        credentials: password(url).map(|_| secret::source(&hop_secret(index))),
        ..Hop::default()
    };
    let chain: Vec<Hop> = flags.forward.iter().enumerate().map(hop).collect();
    let object = |(url, name): (&NodeUrl, &String)| {
        let users = password(url).map(|_| secret::source(&users_secret(name)));
        let server = users.map(|users| Server { users: Some(users), ..Server::default() });
        let url = Some(url.clone().without_secrets().to_string());
        named(name, PortForwardSpec { url, server, chain: chain.clone(), ..PortForwardSpec::default() })
    };
    flags.listen.iter().zip(&flags.names).map(object).collect()
}

/// Keeps the passwords of `-F` flags where the objects look for them.
fn hop_secrets(flags: &Flags) -> Vec<Secret> {
    let secret = |(index, url): (usize, &NodeUrl)| {
        let credentials = [("username", url.credentials()?.user.clone()), ("password", password(url)?.to_owned())];
        let data = credentials.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect();
        Some(Secret { namespace: DEFAULT_NAMESPACE.to_owned(), name: hop_secret(index), data })
    };
    flags.forward.iter().enumerate().filter_map(secret).collect()
}

/// Keeps the logins of `-L` flags where the objects look for them.
fn users_secrets(flags: &Flags) -> Vec<Secret> {
    let secret = |(url, name): (&NodeUrl, &String)| {
        let login = format!("{}:{}", url.credentials()?.user, password(url)?);
        let data = [("users".to_owned(), login.into_bytes())].into_iter().collect();
        Some(Secret { namespace: DEFAULT_NAMESPACE.to_owned(), name: users_secret(name), data })
    };
    flags.listen.iter().zip(&flags.names).filter_map(secret).collect()
}

fn users_secret(name: &str) -> String {
    format!("{name}-users")
}

fn hop_secret(index: usize) -> String {
    format!("hop-{}", index + 1)
}

fn password(url: &NodeUrl) -> Option<&str> {
    Some(url.credentials()?.password.as_ref()?.expose())
}

fn with_fields(flags: &Flags, notes: &mut Notes) -> (Vec<PortForward>, Vec<SecretDocument>) {
    let mut secrets = Vec::new();
    let prefix = flags.names.first().map(String::as_str).unwrap_or_default();
    let mut chain = Vec::new();
    for (index, url) in flags.forward.iter().enumerate() {
        notes.about(format!("-F {}", index + 1));
        chain.push(hop::hop(url, &format!("{prefix}-hop-{}", index + 1), notes, &mut secrets));
    }
    let mut objects = Vec::new();
    for (index, (url, name)) in flags.listen.iter().zip(&flags.names).enumerate() {
        notes.about(format!("-L {}", index + 1));
        let spec = PortForwardSpec { chain: chain.clone(), ..forward::spec(url, name, notes, &mut secrets) };
        objects.push(named(name, spec));
    }
    (objects, secrets)
}

fn named(name: &str, spec: PortForwardSpec) -> PortForward {
    let mut object = PortForward::new(name, spec);
    object.metadata.namespace = None;
    object
}

/// What is wrong beyond each URL by itself; what is merely not built yet is converted all the same.
fn refusals(flags: &Flags) -> Vec<String> {
    let rendering = render::render(&with_urls(flags), Place::CommandLine);
    let verdicts = rendering.verdicts.into_iter().zip(&flags.listen).enumerate();
    let of_listeners = verdicts.filter_map(|(index, ((_, verdict), url))| match verdict {
        Verdict::Refused { reason: AcceptedReason::UnsupportedValue, .. } => {
            notes::out_of_scope(url).map(|problem| format!("-L {}: {problem}", index + 1))
        }
        Verdict::Refused { message, .. } => Some(format!("-L {}: {}", index + 1, message.replace("spec.url: ", ""))),
        Verdict::Accepted { .. } | Verdict::Suspended { .. } => None,
    });
    let of_hops = flags
        .forward
        .iter()
        .enumerate()
        .filter_map(|(index, url)| notes::out_of_scope(url).map(|problem| format!("-F {}: {problem}", index + 1)));
    of_listeners.chain(of_hops).collect()
}

/// Parts that are each built and don't go together: GOST starts such a line, and does something else than it says.
fn note_what_no_version_runs(flags: &Flags, notes: &mut Notes) {
    if flags.forward.iter().any(|hop| hop.scheme().hop_support() != Support::Built) {
        return;
    }
    let verdicts = render::render(&with_urls(flags), Place::CommandLine).verdicts;
    for (index, ((_, verdict), url)) in verdicts.into_iter().zip(&flags.listen).enumerate() {
        if let Verdict::Refused { reason: AcceptedReason::UnsupportedValue, message } = verdict
            && url.scheme().support() == Support::Built
        {
            notes.about(format!("-L {}", index + 1));
            notes.add(format!("the manifest will be refused: {}", message.replace("spec.url: ", "")));
        }
    }
}

/// What no API server would take.
fn misshapen(objects: &[PortForward]) -> Vec<String> {
    let problems = |(index, object): (usize, &PortForward)| {
        let line = move |problem: Problem| format!("-L {}: {problem}", index + 1);
        schema::check(&json!(object)).into_iter().map(line).collect::<Vec<_>>()
    };
    objects.iter().enumerate().flat_map(problems).collect()
}
