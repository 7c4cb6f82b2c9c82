//! `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"): text to lines, and what each lets its key do here.
//! Only forwarding is offered, so options about anything else are read and change nothing. Invariant: a line that can't
//! be read, or has an option that isn't known, lets nobody in.

use std::net::IpAddr;

use fairlead_config::Network;
use jiff::{civil, tz::TimeZone};
use russh::keys::{
    Certificate, HashAlg, PublicKey,
    ssh_key::{certificate::CertType, public::KeyData},
};

use super::known_hosts::matches;

/// Lines beyond these are left out.
const LINES_LIMIT: usize = 4096;
/// Permits of one line beyond these make it unfit.
const PERMITS_LIMIT: usize = 256;
/// Options that restrict or allow what is never offered here.
const IRRELEVANT: [&str; 12] = [
    "agent-forwarding",
    "no-agent-forwarding",
    "x11-forwarding",
    "no-x11-forwarding",
    "pty",
    "no-pty",
    "user-rc",
    "no-user-rc",
    "command",
    "environment",
    "tunnel",
    "no-touch-required",
];

/// The lines of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AuthorizedKeys {
    lines: Vec<Line>,
    /// What is wrong with the lines left out, each in one line that shows no key.
    pub(crate) problems: Vec<String>,
}

/// One key, or one authority, with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    key: KeyData,
    options: Options,
}

/// The name of an option, and its value if it has one.
type OptionWords = (String, Option<String>);

/// The options of a line that mean something here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    is_authority: bool,
    /// Whom certificates must be for; empty: the name of the user.
    principals: Vec<String>,
    /// Patterns and networks of clients; empty: from anywhere.
    from: Vec<String>,
    /// Unix time in seconds.
    expires: Option<u64>,
    limits: Limits,
}

/// What a login may be used for, beyond the rules of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    forbidden: bool,
    /// None: every target.
    open: Option<Vec<Permit>>,
    /// None: every listener.
    listen: Option<Vec<Permit>>,
}

/// `host:port` of `permitopen` or `permitlisten`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Permit {
    host: String,
    /// None: any.
    port: Option<u16>,
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) user: &'a str,
    pub(crate) ip: IpAddr,
    /// Unix time in seconds.
    pub(crate) now: u64,
}

impl AuthorizedKeys {
    /// Reads a file's text.
    pub(crate) fn read(text: &str) -> Self {
        let mut read = Self::default();
        for (number, line) in text.lines().enumerate().take(LINES_LIMIT) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Line::read(line) {
                Ok(line) => read.lines.push(line),
                Err(why) => read.problems.push(format!("line {}: {why}", number + 1)),
            }
        }
        if text.lines().nth(LINES_LIMIT).is_some() {
            read.problems.push(format!("only the first {LINES_LIMIT} lines are read"));
        }
        read
    }

    /// Tells whether somebody may vouch for users.
    pub(crate) fn has_authority(&self) -> bool {
        self.lines.iter().any(|line| line.options.is_authority)
    }

    /// Tells whether nobody can log in with it.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What the holder of a key may do; none: not log in.
    pub(crate) fn limits_of_key(&self, key: &PublicKey, asker: Asker<'_>) -> Option<Limits> {
        let line =
            |line: &&Line| !line.options.is_authority && line.key == *key.key_data() && line.options.admit(asker);
        self.lines.iter().find(line).map(|line| line.options.limits.clone())
    }

    /// What the holder of a user certificate may do; none: not log in.
    pub(crate) fn limits_of_certificate(&self, certificate: &Certificate, asker: Asker<'_>) -> Option<Limits> {
        let line = |line: &&Line| {
            let options = &line.options;
            let names = certificate.valid_principals();
            let is_meant = |name: &String| match options.principals.as_slice() {
                [] => name == asker.user,
                principals => principals.contains(name),
            };
            options.is_authority
                && line.key == *certificate.signature_key()
                && names.iter().any(is_meant)
                && options.admit(asker)
        };
        let authority = self.lines.iter().find(line)?;
        let mut limits = authority.options.limits.clone();
        let critical = certificate.critical_options();
        let is_from_there = |list: &String| is_from(&words(list), asker.ip);
        let is_valid = certificate.cert_type() == CertType::User
            && certificate.validate_at(asker.now, [&authority.key.fingerprint(HashAlg::Sha256)]).is_ok()
            && critical.keys().all(|name| name == "source-address" || name == "force-command")
            && critical.get("source-address").is_none_or(is_from_there);
        limits.forbidden |= !certificate.extensions().contains_key("permit-port-forwarding");
        is_valid.then_some(limits)
    }
}

impl Line {
    fn read(line: &str) -> Result<Self, String> {
        if let Some(key) = key(line) {
            return Ok(Self { key, options: Options::default() });
        }
        let (options, rest) = split_options(line)?;
        let key = key(rest).ok_or("no public key is to be found; write one as in \"ssh-ed25519 AAAA…\"")?;
        Ok(Self { key, options: Options::read(&options)? })
    }
}

impl Options {
    fn read(list: &[OptionWords]) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in list {
            let needed = || value.as_deref().ok_or_else(|| format!("the option {name} needs a value, in quotes"));
            match name.as_str() {
                "restrict" | "no-port-forwarding" => options.limits.forbidden = true,
                "port-forwarding" => options.limits.forbidden = false,
                "permitopen" => permit(&mut options.limits.open, needed()?, false)?,
                "permitlisten" => permit(&mut options.limits.listen, needed()?, true)?,
                "from" => options.from.extend(words(needed()?)),
                "expiry-time" => options.expires = Some(expiry(needed()?)?),
                "cert-authority" => options.is_authority = true,
                "principals" => options.principals.extend(words(needed()?)),
                name if IRRELEVANT.contains(&name) => {}
                name => return Err(format!("the option {name:?} is not known, so that the key is not used")),
            }
        }
        Ok(options)
    }

    fn admit(&self, asker: Asker<'_>) -> bool {
        self.expires.is_none_or(|end| asker.now < end) && (self.from.is_empty() || is_from(&self.from, asker.ip))
    }
}

impl Limits {
    /// Whether nothing at all is permitted.
    pub(crate) fn forbid_all(&self) -> bool {
        self.forbidden
    }

    /// Whether targets are permitted one by one.
    pub(crate) fn lists_targets(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a target may be reached; `host` as the client names it.
    pub(crate) fn may_open(&self, host: &str, port: u16) -> bool {
        let is_it = |permit: &Permit| permit.host == "*" || permit.host.eq_ignore_ascii_case(host);
        !self.forbidden && permits(self.open.as_deref(), port, is_it)
    }

    /// Whether a listener may be asked for; `host` as the client names it.
    pub(crate) fn may_listen(&self, host: &str, port: u16) -> bool {
        let is_it = |permit: &Permit| matches(&permit.host, &host.to_ascii_lowercase());
        !self.forbidden && permits(self.listen.as_deref(), port, is_it)
    }
}

fn permits(list: Option<&[Permit]>, port: u16, is_host: impl Fn(&Permit) -> bool) -> bool {
    list.is_none_or(|list| list.iter().any(|permit| permit.port.is_none_or(|its| its == port) && is_host(permit)))
}

/// Adds one permit; a port alone is for any host.
fn permit(list: &mut Option<Vec<Permit>>, text: &str, bare_port: bool) -> Result<(), String> {
    let wrong = || format!("{text:?} is no host and port; write db.internal:5432, or * for any port");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None if bare_port => ("*", text),
        None => return Err(wrong()),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = if port == "*" { None } else { Some(port.parse().map_err(|_| wrong())?) };
    let list = list.get_or_insert_default();
    if host.is_empty() || list.len() >= PERMITS_LIMIT {
        return Err(wrong());
    }
    list.push(Permit { host: host.to_owned(), port });
    Ok(())
}

/// The key that a line begins with; `ssh_key` wants single spaces.
fn key(line: &str) -> Option<KeyData> {
    let fields: Vec<_> = line.split_ascii_whitespace().take(2).collect();
    PublicKey::from_openssh(&fields.join(" ")).ok().map(|key| key.key_data().clone())
}

/// Cuts the options off: names in lower case, values without their quotes, and the rest of the line.
fn split_options(line: &str) -> Result<(Vec<OptionWords>, &str), String> {
    let (mut options, mut word, mut value) = (Vec::new(), String::new(), None::<String>);
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in line.char_indices() {
        let is_end = !quoted && (letter == ',' || letter == ' ' || letter == '\t');
        if is_end {
            options.push((std::mem::take(&mut word).to_ascii_lowercase(), value.take()));
            if letter != ',' {
                return Ok((options, line[at..].trim_start()));
            }
            continue;
        }
        let is_named = value.is_some();
        let into = value.as_mut().unwrap_or(&mut word);
        match letter {
            '"' if escaped => {
                into.pop();
                into.push('"');
            }
            '"' => quoted = !quoted,
            '=' if !quoted && !is_named => value = Some(String::new()),
            letter => into.push(letter),
        }
        escaped = quoted && letter == '\\';
    }
    Err(if quoted { "a quote is not closed" } else { "no public key is to be found" }.to_owned())
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Whether an address is one of a list of networks and patterns; names are not looked up, so that they match nobody.
fn is_from(list: &[String], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_it = |pattern: &str| {
        pattern.parse::<Network>().map_or_else(|_| matches(pattern, &ip.to_string()), |network| network.contains(ip))
    };
    let is_excepted = list.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(is_it);
    !is_excepted && list.iter().any(|pattern| is_it(pattern))
}

/// `YYYYMMDD[HHMM[SS]]`, taken for UTC with or without a `Z`, as Unix time in seconds.
fn expiry(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time; write YYYYMMDD or YYYYMMDDHHMM, in UTC");
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let time = civil::DateTime::strptime("%Y%m%d%H%M%S", format!("{digits:0<14}")).map_err(|_| wrong())?;
    let time = time.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    u64::try_from(time.timestamp().as_second()).map_err(|_| wrong())
}

#[cfg(test)]
#[path = "authorized_keys_fuzz_tests.rs"]
mod fuzz_tests;
#[cfg(test)]
#[path = "authorized_keys_tests.rs"]
mod tests;
