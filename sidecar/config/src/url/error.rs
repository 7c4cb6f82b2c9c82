//! What is wrong with a node URL, to people: every problem at once, each naming the part and saying what to write instead.
//! Invariant: no message holds a password or more than 80 characters of any value.

use std::fmt;

use super::credentials::AuthError;
use super::percent::EscapeError;
use crate::address::AddressError;
use crate::scheme::{Scheme, SchemeError};

/// The part of a URL an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    ListenAddress,
    HopAddress,
    /// A target in the path, from 1.
    Target(usize),
    /// An address in `ip=`, from 1.
    ListedAddress(usize),
    UserInfo,
    /// One option of the query, from 1, where even its name can't be read.
    Query(usize),
    Option(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListenAddress => f.write_str("listening address"),
            Self::HopAddress => f.write_str("hop address"),
            Self::Target(n) => write!(f, "target {n}"),
            Self::ListedAddress(n) => write!(f, "option \"ip\", address {n}"),
            Self::UserInfo => f.write_str("user and password"),
            Self::Query(n) => write!(f, "query, option {n}"),
            Self::Option(name) => write!(f, "option \"{name}\""),
        }
    }
}

/// One problem of a node URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("a node URL is empty: write one as in tcp://:2222/192.168.1.1:22")]
    Empty,
    #[error("a node URL of {bytes} bytes is too long: write at most {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("a '#' means nothing in a node URL: write %23 for one inside a password or value")]
    Fragment,
    #[error("an '@' stands behind a '/' or '?': write %2F and %3F for those inside a user name or password")]
    MisplacedAt,
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    #[error("scheme \"{scheme}\" {problem}")]
    Unfit { scheme: Scheme, problem: &'static str },
    #[error("{part}: {source}")]
    Address { part: Part, source: AddressError },
    #[error("{part}: {source}")]
    Escape { part: Part, source: EscapeError },
    #[error("{count} {what} are too many: write at most {limit}")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("option \"ip\" names a file: list the addresses instead, as in ip=10.0.0.1:22,10.0.0.2:22")]
    ListFile,
    #[error("option \"auth\": {0}")]
    Auth(#[from] AuthError),
    #[error("option \"auth\" and user:pass@ say the same: leave one of them out")]
    TwoCredentials,
    #[error("option \"{name}\" is unknown: {advice}")]
    UnknownOption { name: String, advice: String },
    #[error("option \"{0}\" is given twice: write it once")]
    RepeatedOption(&'static str),
    #[error("option \"{name}\" is for {role}: leave it out here")]
    WrongRole { name: &'static str, role: &'static str },
    #[error("option \"{name}\" means nothing with scheme \"{scheme}\": leave it out")]
    WrongScheme { name: &'static str, scheme: Scheme },
    #[error("option \"{name}\" is not supported: {advice}")]
    RefusedOption { name: &'static str, advice: &'static str },
    #[error("option \"{name}\" needs option \"{other}\": write both")]
    Incomplete { name: &'static str, other: &'static str },
    #[error("option \"{name}\": {problem}")]
    Value { name: &'static str, problem: String },
    #[error("a ';' means nothing in a query: write & between options, and %3B for one inside a value")]
    Semicolon,
}

/// All problems of a node URL, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlErrors(Vec<UrlError>);

impl UrlErrors {
    pub(super) fn new(errors: Vec<UrlError>) -> Self {
        Self(errors)
    }

    /// Returns the problems in the order of the URL's parts.
    pub fn iter(&self) -> impl Iterator<Item = &UrlError> {
        self.0.iter()
    }
}

impl IntoIterator for UrlErrors {
    type Item = UrlError;
    type IntoIter = std::vec::IntoIter<UrlError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for UrlErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UrlErrors {}
