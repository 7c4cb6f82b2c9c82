//! GOST v2's node URL, `[scheme://][user[:pass]@][host]:port[/targets][?options]`, from command lines and manifests to a [`NodeUrl`]
//! and back to a canonical text. No I/O: files that options name are not read.
//! Invariant: what is printed parses back equal; what GOST would silently swallow is an error that says what to write.

mod addresses;
mod credentials;
mod error;
mod fit;
mod option;
mod percent;
mod print;
mod query;
mod split;
mod value;
mod warnings;

#[cfg(test)]
mod tests;

pub use credentials::{AuthError, Credentials, Secret};
pub use error::{Part, UrlError, UrlErrors};
pub use option::{OPTIONS, OptionRow, UrlOption, Use};
pub use percent::EscapeError;
pub use query::Options;

use crate::address::HostPort;
use crate::scheme::Scheme;
use query::Query;
use split::RawUrl;

/// The longest URL there is, in bytes.
pub const LONGEST_URL: usize = 8 * 1024;

/// Which side of a forward a URL describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `-L`: where clients come in.
    Listen,
    /// `-F`: a step of the chain.
    Hop,
}

/// A node URL, understood. Debug shows no password; Display does, see [`NodeUrl::redacted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    role: Role,
    scheme: Scheme,
    credentials: Option<Credentials>,
    address: HostPort,
    /// Targets of a listener; alternative nodes of a hop.
    others: Vec<HostPort>,
    options: Options,
}

impl NodeUrl {
    /// Reads a URL, or finds all that is wrong with it.
    pub fn parse(text: &str, role: Role) -> Result<Self, UrlErrors> {
        let raw = cut(text).map_err(|problem| UrlErrors::new(vec![problem]))?;
        let mut problems = Vec::new();
        match read(raw, role, &mut problems) {
            Some(url) if problems.is_empty() => Ok(url),
            _ => Err(UrlErrors::new(problems)),
        }
    }

    /// Returns the side the URL was read for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the scheme; whether this build serves it is [`Scheme::check_support`]'s to say.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the user and password, from `user:pass@` or `auth=`.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Returns the listening address, or the hop's own; its host is also the name that a hop's certificate must have.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// Returns a listener's targets: those of the path, then those of `ip=`. A hop has none.
    pub fn targets(&self) -> &[HostPort] {
        match self.role {
            Role::Listen => &self.others,
            Role::Hop => &[],
        }
    }

    /// Returns a hop's nodes: those of `ip=`, else its own address. A listener has none.
    pub fn nodes(&self) -> &[HostPort] {
        match self.role {
            Role::Listen => &[],
            Role::Hop if self.others.is_empty() => std::slice::from_ref(&self.address),
            Role::Hop => &self.others,
        }
    }

    /// Returns the options but `ip` and `auth`, which are in the targets, nodes and credentials.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Returns the same URL without password and keys, for where they must not be kept; a user name stays.
    pub fn without_secrets(mut self) -> Self {
        self.options.drop_secrets();
        self.credentials = self.credentials.filter(|credentials| !credentials.user.is_empty());
        if let Some(credentials) = &mut self.credentials {
            credentials.password = None;
        }
        self
    }

    /// Returns notes on what is accepted and means less or something else than it does to GOST.
    pub fn warnings(&self) -> Vec<String> {
        warnings::of(self)
    }
}

/// Refuses what makes the rest unreadable, then cuts the text into parts.
fn cut(text: &str) -> Result<RawUrl<'_>, UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > LONGEST_URL {
        return Err(UrlError::TooLong { bytes: text.len(), limit: LONGEST_URL });
    }
    if text.contains('#') {
        return Err(UrlError::Fragment);
    }
    let raw = split::split(text);
    let at_is_behind = raw.path.contains('@') || (raw.query.contains('@') && raw.address.parse::<HostPort>().is_err());
    if raw.userinfo.is_none() && at_is_behind {
        return Err(UrlError::MisplacedAt);
    }
    Ok(raw)
}

/// Reads every part, so that all problems are found; `None` when a part that has no stand-in could not be read.
fn read(raw: RawUrl<'_>, role: Role, problems: &mut Vec<UrlError>) -> Option<NodeUrl> {
    let scheme = keep(raw.scheme.map_or(Ok(Scheme::AUTO), |scheme| scheme.parse().map_err(UrlError::Scheme)), problems);
    let userinfo = raw.userinfo.map(Credentials::of_userinfo).transpose();
    let userinfo = userinfo.map_err(|source| UrlError::Escape { part: Part::UserInfo, source });
    let userinfo = keep(userinfo, problems).flatten();
    let address = keep(addresses::own(raw.address, role, scheme), problems);
    let mut others = match role {
        Role::Listen => addresses::targets(raw.path, problems),
        Role::Hop => Vec::new(),
    };
    let query = Query::parse(raw.query, role, problems);
    others.extend(addresses::listed(&query.listed, role, address.as_ref(), problems));
    addresses::check_count(others.len(), role, problems);
    if userinfo.is_some() && query.credentials.is_some() {
        problems.push(UrlError::TwoCredentials);
    }
    fit::check(&raw, &query, role, scheme, problems);
    let credentials = userinfo.or(query.credentials);
    Some(NodeUrl { role, scheme: scheme?, credentials, address: address?, others, options: query.options })
}

/// Takes the value out of a result, its error into the list.
fn keep<T>(result: Result<T, UrlError>, problems: &mut Vec<UrlError>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
