//! The scheme of a node URL, `protocol[+transport]`: GOST v2's words, to a protocol and a transport that every caller can match on.
//! Invariant: a [`Scheme`] prints as it was written (in lower case); a word that GOST would silently take for `auto` or `tcp` is an error.

use std::fmt;
use std::str::FromStr;

use crate::excerpt::excerpt;
use crate::nearest::nearest;

#[path = "scheme_words.rs"]
mod words;

pub use words::{Protocol, Transport};

/// What is asked of a node, how bytes travel to it, and the words this was said with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    protocol: Protocol,
    transport: Transport,
    first: &'static str,
    second: Option<&'static str>,
}

/// How far this build serves a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It runs.
    Built,
    /// It belongs to Fairlead and is not built yet.
    NotBuiltYet,
    /// GOST has it, Fairlead leaves it out by design.
    OutOfScope,
}

/// Why a text is no scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    #[error("a scheme is empty: write one before \"://\", as in tcp://")]
    Empty,
    #[error("scheme \"{0}\" has more than two parts: write protocol+transport, as in forward+tls")]
    TooManyParts(String),
    #[error("scheme \"{word}\" is unknown: {advice}")]
    UnknownWord { word: String, advice: String },
    #[error("scheme \"{scheme}\": \"{word}\" is unknown as a protocol: {advice}")]
    UnknownProtocol { scheme: String, word: String, advice: String },
    #[error("scheme \"{scheme}\": \"{word}\" is unknown as a transport: {advice}")]
    UnknownTransport { scheme: String, word: String, advice: String },
}

/// A scheme that GOST knows and this build does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedScheme {
    #[error(
        "scheme \"{0}\" is not built yet: this version listens as tcp, udp, rtcp, rudp, socks5, socks4, http, auto, sni, relay, ss, ssu or forward+ssh, \
         and as a server also over ssh, as in socks5+ssh"
    )]
    NotBuiltYet(Scheme),
    #[error("scheme \"{0}\" is known to GOST and out of Fairlead's scope")]
    OutOfScope(Scheme),
    #[error(
        "hop scheme \"{0}\" is not built yet: this version goes through socks5, socks4, socks4a, http, relay, ss, forward and forward+ssh, \
         and through proxies also over ssh, as in socks5+ssh"
    )]
    HopNotBuiltYet(Scheme),
}

impl Scheme {
    /// `auto`, which a URL without a scheme has.
    pub const AUTO: Self =
        Self { protocol: Protocol::Auto, transport: Transport::Tcp, first: words::AUTO, second: None };

    /// `forward`, the plainest hop behind which a listener needs no targets.
    pub(crate) const FORWARD: Self =
        Self { protocol: Protocol::Forward, transport: Transport::Tcp, first: "forward", second: None };

    /// Returns what is asked of the node.
    pub fn protocol(self) -> Protocol {
        self.protocol
    }

    /// Returns how bytes travel to or from the node.
    pub fn transport(self) -> Transport {
        self.transport
    }

    /// Tells how far this build serves the scheme.
    pub fn support(self) -> Support {
        let is_server = matches!(
            self.protocol,
            Protocol::Auto
                | Protocol::Http
                | Protocol::Relay
                | Protocol::Sni
                | Protocol::Socks4
                | Protocol::Socks4a
                | Protocol::Socks5
                | Protocol::Ss
        );
        let is_over_tcp = self.transport == Transport::Tcp && (is_server || self.protocol == Protocol::Tcp);
        let is_plain = is_over_tcp
            || (is_server && self.is_over_ssh())
            || matches!(
                (self.transport, self.protocol),
                (Transport::Udp, Protocol::Udp)
                    | (Transport::Rtcp, Protocol::Rtcp)
                    | (Transport::Rudp, Protocol::Rudp)
                    | (Transport::Ssh, Protocol::Forward)
                    | (Transport::Udp, Protocol::Ssu)
            );
        if self.is_out_of_scope() {
            Support::OutOfScope
        } else if is_plain {
            Support::Built
        } else {
            Support::NotBuiltYet
        }
    }

    /// Refuses a scheme that this build does not serve, naming it.
    pub fn check_support(self) -> Result<(), UnsupportedScheme> {
        match self.support() {
            Support::Built => Ok(()),
            Support::NotBuiltYet => Err(UnsupportedScheme::NotBuiltYet(self)),
            Support::OutOfScope => Err(UnsupportedScheme::OutOfScope(self)),
        }
    }

    /// Tells how far this build goes through hops of the scheme.
    pub fn hop_support(self) -> Support {
        let is_spoken = matches!(
            self.protocol,
            Protocol::Auto
                | Protocol::Socks5
                | Protocol::Socks4
                | Protocol::Socks4a
                | Protocol::Http
                | Protocol::Relay
                | Protocol::Ss
                | Protocol::Forward
        );
        if self.is_out_of_scope() {
            Support::OutOfScope
        } else if is_spoken && matches!(self.transport, Transport::Tcp | Transport::Ssh) || self.is_ssu() {
            Support::Built
        } else {
            Support::NotBuiltYet
        }
    }

    fn is_out_of_scope(self) -> bool {
        self.protocol.is_out_of_scope() || self.transport.is_out_of_scope()
    }

    /// Tells whether SSH is spoken to or by the node, for port forwarding or to carry another protocol.
    pub fn uses_ssh(self) -> bool {
        self.transport == Transport::Ssh
    }

    /// Tells whether another protocol than port forwarding is carried over SSH, as in `socks5+ssh`.
    pub fn is_over_ssh(self) -> bool {
        self.uses_ssh() && self.protocol != Protocol::Forward
    }

    /// GOST's word for Shadowsocks that carries datagrams, which `ss` does here, too.
    fn is_ssu(self) -> bool {
        (self.protocol, self.transport) == (Protocol::Ssu, Transport::Udp)
    }

    /// Refuses a hop of a scheme that this build does not go through, naming it.
    pub fn check_hop_support(self) -> Result<(), UnsupportedScheme> {
        match self.hop_support() {
            Support::Built => Ok(()),
            Support::NotBuiltYet => Err(UnsupportedScheme::HopNotBuiltYet(self)),
            Support::OutOfScope => Err(UnsupportedScheme::OutOfScope(self)),
        }
    }

    /// Tells whether a listener of this scheme only forwards ports: tcp, udp, rtcp or rudp.
    pub fn is_forward(self) -> bool {
        matches!(self.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Rtcp | Protocol::Rudp)
    }

    /// Tells whether the listening address is at the far end: rtcp or rudp.
    pub fn is_remote(self) -> bool {
        matches!(self.protocol, Protocol::Rtcp | Protocol::Rudp)
    }

    /// Tells whether a listener of this scheme takes datagrams: udp, rudp or ssu.
    pub fn is_datagram(self) -> bool {
        matches!(self.protocol, Protocol::Udp | Protocol::Rudp) || self.is_ssu()
    }

    /// Tells whether a listener of this scheme is a server, whose clients name the targets; with targets `auto` and transports are tunnels.
    pub fn is_server(self, has_targets: bool) -> bool {
        !self.is_forward() && !self.is_tunnel(has_targets)
    }

    /// Tells whether a listener of this scheme is a forward tunnel: a transport with targets and without a protocol, as in `tls://:443/:1443`.
    /// There is none over SSH, since a hop `forward+ssh` is port forwarding.
    pub fn is_tunnel(self, has_targets: bool) -> bool {
        self.protocol == Protocol::Auto && has_targets && !self.uses_ssh()
    }

    /// Tells whether a listener of this scheme means anything with targets.
    pub fn takes_targets(self) -> bool {
        self.is_forward() || self.is_tunnel(true) || self.protocol == Protocol::Relay
    }

    /// Tells whether a listener of this scheme means nothing without targets; `tcp` does behind a last hop that knows where it goes.
    pub fn needs_targets(self, last_hop: Option<Self>) -> bool {
        let goes_on_behind_the_hop = last_hop.is_some_and(Self::may_know_the_target);
        self.is_forward() && !(self.protocol == Protocol::Tcp && goes_on_behind_the_hop)
    }

    /// Tells whether the far end may choose the port, so that a listener may ask for port 0.
    pub fn may_bind_zero(self) -> bool {
        self.is_remote()
    }

    /// Tells whether the far end of a hop of this scheme may say itself where it goes: `forward+transport`, `relay`.
    pub fn may_know_the_target(self) -> bool {
        (self.is_forward_hop() && !self.uses_ssh()) || self.protocol == Protocol::Relay
    }

    /// Tells whether a hop of this scheme is the `forward` protocol, where the stream is the connection.
    pub fn is_forward_hop(self) -> bool {
        self.protocol == Protocol::Forward
    }

    /// Tells whether a hop of this scheme is SSH port forwarding, `forward+ssh`.
    pub fn is_ssh_hop(self) -> bool {
        self.is_forward_hop() && self.uses_ssh()
    }

    fn of_word(word: &str) -> Result<Self, SchemeError> {
        if word == words::AUTO {
            return Ok(Self::AUTO);
        }
        let (protocol, transport) = (Protocol::of(word), Transport::of(word));
        let Some(first) = protocol.map(|(first, _)| first).or(transport.map(|(first, _)| first)) else {
            return Err(SchemeError::UnknownWord { word: excerpt(word), advice: advice(word, words::all()) });
        };
        let protocol = protocol.map_or(Protocol::Auto, |(_, protocol)| protocol);
        let transport = transport.map_or(Transport::Tcp, |(_, transport)| transport);
        Ok(Self { protocol, transport, first, second: None })
    }

    fn of_pair(text: &str, first: &str, second: &str) -> Result<Self, SchemeError> {
        let Some((first, protocol)) = Protocol::of(first) else {
            let advice = advice(first, words::protocols());
            return Err(SchemeError::UnknownProtocol { scheme: excerpt(text), word: excerpt(first), advice });
        };
        let Some((second, transport)) = Transport::of(second) else {
            let advice = advice(second, words::transports());
            return Err(SchemeError::UnknownTransport { scheme: excerpt(text), word: excerpt(second), advice });
        };
        Ok(Self { protocol, transport, first, second: Some(second) })
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let text = text.to_ascii_lowercase();
        let mut parts = text.split('+');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(first), Some(second), None) => Self::of_pair(&text, first, second),
            (_, _, Some(_)) => Err(SchemeError::TooManyParts(excerpt(&text))),
            _ if text.is_empty() => Err(SchemeError::Empty),
            _ => Self::of_word(&text),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.first)?;
        match self.second {
            Some(second) => write!(f, "+{second}"),
            None => Ok(()),
        }
    }
}

fn advice(word: &str, known: impl Iterator<Item = &'static str>) -> String {
    let near = nearest(word, known);
    if near.is_empty() {
        return "write tcp, udp, rtcp, rudp, tls, socks5, http or forward+ssh, for example".to_owned();
    }
    format!("did you mean {}?", near.join(" or "))
}

#[cfg(test)]
#[path = "scheme_tests.rs"]
mod tests;
