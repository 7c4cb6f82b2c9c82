//! GOST v2's words for protocols and transports, for the scheme parser. One row per word, aliases included;
//! a word may stand in both tables.

/// What `auto` is written as; it stands in neither table and is what no scheme at all means.
pub(super) const AUTO: &str = "auto";

/// What is asked of a hop, or what a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP, SOCKS4 or SOCKS5, by the client's first byte; as a hop, HTTP.
    Auto,
    Http,
    Http2,
    Socks4,
    Socks4a,
    Socks5,
    Ss,
    /// Shadowsocks for datagrams.
    Ssu,
    Sni,
    Relay,
    /// As a hop: the stream is the connection; with the transport ssh: SSH port forwarding.
    Forward,
    Tcp,
    Udp,
    Rtcp,
    Rudp,
    Direct,
    Remote,
    /// Transparent TCP proxy.
    Redirect,
    /// Transparent UDP proxy.
    Redirectu,
    Tun,
    Tap,
    Ftcp,
    Dns,
    Dot,
    Doh,
}

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
    Rtcp,
    Rudp,
    Tls,
    Mtls,
    Ws,
    Wss,
    Mws,
    Mwss,
    Kcp,
    Quic,
    H2,
    H2c,
    Http2,
    Ssh,
    /// Obfuscation that looks like HTTP.
    Ohttp,
    /// Obfuscation that looks like TLS.
    Otls,
    Obfs4,
    Tun,
    Tap,
    Ftcp,
    Dns,
    /// Transparent UDP proxy.
    Redirectu,
    Vsock,
}

const PROTOCOLS: [(&str, Protocol); 30] = [
    ("http", Protocol::Http),
    ("https", Protocol::Http),
    ("http2", Protocol::Http2),
    ("socks4", Protocol::Socks4),
    ("socks4a", Protocol::Socks4a),
    ("socks5", Protocol::Socks5),
    ("socks", Protocol::Socks5),
    ("ss", Protocol::Ss),
    ("ss2", Protocol::Ss),
    ("ssu", Protocol::Ssu),
    ("sni", Protocol::Sni),
    ("relay", Protocol::Relay),
    ("forward", Protocol::Forward),
    ("auto", Protocol::Auto),
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("rtcp", Protocol::Rtcp),
    ("rudp", Protocol::Rudp),
    ("direct", Protocol::Direct),
    ("remote", Protocol::Remote),
    ("red", Protocol::Redirect),
    ("redirect", Protocol::Redirect),
    ("redu", Protocol::Redirectu),
    ("redirectu", Protocol::Redirectu),
    ("tun", Protocol::Tun),
    ("tap", Protocol::Tap),
    ("ftcp", Protocol::Ftcp),
    ("dns", Protocol::Dns),
    ("dot", Protocol::Dot),
    ("doh", Protocol::Doh),
];

const TRANSPORTS: [(&str, Transport); 28] = [
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
    ("ssu", Transport::Udp),
    ("rtcp", Transport::Rtcp),
    ("rudp", Transport::Rudp),
    ("tls", Transport::Tls),
    ("https", Transport::Tls),
    ("mtls", Transport::Mtls),
    ("ws", Transport::Ws),
    ("wss", Transport::Wss),
    ("mws", Transport::Mws),
    ("mwss", Transport::Mwss),
    ("kcp", Transport::Kcp),
    ("quic", Transport::Quic),
    ("h2", Transport::H2),
    ("h2c", Transport::H2c),
    ("http2", Transport::Http2),
    ("ssh", Transport::Ssh),
    ("ohttp", Transport::Ohttp),
    ("otls", Transport::Otls),
    ("obfs4", Transport::Obfs4),
    ("tun", Transport::Tun),
    ("tap", Transport::Tap),
    ("ftcp", Transport::Ftcp),
    ("dns", Transport::Dns),
    ("redu", Transport::Redirectu),
    ("redirectu", Transport::Redirectu),
    ("vsock", Transport::Vsock),
];

impl Protocol {
    /// Looks a word up; gives its spelling and what it means.
    pub(super) fn of(word: &str) -> Option<(&'static str, Self)> {
        PROTOCOLS.into_iter().find(|(known, _)| *known == word)
    }

    /// Tells whether Fairlead leaves the protocol out by design.
    pub fn is_out_of_scope(self) -> bool {
        match self {
            Self::Direct | Self::Remote | Self::Redirect | Self::Redirectu | Self::Tun | Self::Tap => true,
            Self::Ftcp | Self::Dns | Self::Dot | Self::Doh => true,
            Self::Auto | Self::Http | Self::Http2 | Self::Socks4 | Self::Socks4a | Self::Socks5 | Self::Ss => false,
            Self::Ssu | Self::Sni | Self::Relay | Self::Forward | Self::Tcp | Self::Udp | Self::Rtcp | Self::Rudp => {
                false
            }
        }
    }
}

impl Transport {
    /// Looks a word up; gives its spelling and what it means.
    pub(super) fn of(word: &str) -> Option<(&'static str, Self)> {
        TRANSPORTS.into_iter().find(|(known, _)| *known == word)
    }

    /// Tells whether Fairlead leaves the transport out by design.
    pub fn is_out_of_scope(self) -> bool {
        match self {
            Self::Ohttp | Self::Otls | Self::Obfs4 | Self::Tun | Self::Tap | Self::Ftcp | Self::Dns => true,
            Self::Redirectu | Self::Vsock => true,
            Self::Tcp | Self::Udp | Self::Rtcp | Self::Rudp | Self::Tls | Self::Mtls | Self::Ws | Self::Wss => false,
            Self::Mws | Self::Mwss | Self::Kcp | Self::Quic | Self::H2 | Self::H2c | Self::Http2 | Self::Ssh => false,
        }
    }

    /// Tells whether the transport is encrypted by TLS, so that certificates matter.
    pub fn is_tls(self) -> bool {
        match self {
            Self::Tls | Self::Mtls | Self::Wss | Self::Mwss | Self::Quic | Self::H2 | Self::Http2 => true,
            Self::Tcp | Self::Udp | Self::Rtcp | Self::Rudp | Self::Ws | Self::Mws | Self::Kcp | Self::H2c => false,
            Self::Ssh | Self::Ohttp | Self::Otls | Self::Obfs4 | Self::Tun | Self::Tap | Self::Ftcp => false,
            Self::Dns | Self::Redirectu | Self::Vsock => false,
        }
    }
}

/// All words that may stand alone.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    protocols().chain(transports().filter(|word| Protocol::of(word).is_none()))
}

/// All words that may stand before a `+`.
pub(super) fn protocols() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.into_iter().map(|(word, _)| word)
}

/// All words that may stand behind a `+`.
pub(super) fn transports() -> impl Iterator<Item = &'static str> {
    TRANSPORTS.into_iter().map(|(word, _)| word)
}
