//! SSH: for the client's side hops `forward+ssh` through which targets are reached as channels (direct-tcpip), or hops
//! such as `socks5+ssh` that are spoken to in channels, and what our servers share with it.
//!
//! `papers` say who we are (`login`) and whose host keys we trust (`known_hosts`, `trust`); the `pool` keeps `session`s,
//! each with a `handler` for what the server says, and gives a `channel` to each connection. What waits to be read in
//! them is bounded by `traffic`. A port that the server holds for us is `listening`, and who comes there a `caller`. Who may
//! come to a server of ours is in `authorized_keys`.

mod authenticate;
mod authorized_keys;
mod caller;
mod channel;
mod handler;
mod known_hosts;
mod listening;
mod login;
mod papers;
mod pool;
mod session;
mod to_its_end;
mod traffic;
mod trust;

use std::time::Duration;

use fairlead_config::url::Secret;
use russh::{
    cipher,
    keys::{Algorithm, PrivateKey, decode_secret_key, ssh_key::LineEnding},
};

pub(crate) use authorized_keys::{Asker, AuthorizedKeys, Limits};
pub(crate) use channel::ChannelStream;
pub(crate) use listening::{ListenFailure, Listening};
pub(crate) use papers::{Drawer, Papers};
pub(crate) use pool::{Pool, Sessions};
pub(crate) use session::Session;
pub(crate) use traffic::{CHANNEL_MESSAGES, FIRST_WINDOW, Traffic};
pub(crate) use trust::ALGORITHMS;

/// AES-GCM costs half of what ChaCha20 costs where the processor helps, which all of ours do; among keys of the same kind
/// the shorter one first, as `ssh` has them.
pub(crate) const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
    cipher::AES_256_CTR,
];

/// The type of a channel that carries another protocol, without a word of its own before it (seed: the transport `ssh`).
pub(crate) const CARRIER: &str = "gost-tunnel";

/// Signs of life that may stay unanswered: when the third is due, the peer is given up.
pub(crate) const UNANSWERED: usize = 2;

/// How often a silent peer is asked for a sign of life, so that it is given up within three times `keep_alive` whatever
/// the machine is busy with.
pub(crate) fn sign_of_life_pause(keep_alive: Duration) -> Duration {
    keep_alive - keep_alive / 20
}

/// What a session reads at once, in bytes: `russh` asks for four and then for the rest of each packet.
pub(crate) const READ_AHEAD: usize = 64 << 10;

/// Reads a private key without a passphrase, in any form. The error says what to write and shows nothing.
pub(crate) fn decode_key(content: &[u8]) -> Result<PrivateKey, String> {
    let text = std::str::from_utf8(content).map_err(|_| "is no text (UTF-8)".to_owned())?;
    decode_secret_key(text, None).map_err(|_| {
        "is no private key without a passphrase; make one with ssh-keygen -q -t ed25519 -N '' -f hostkey".to_owned()
    })
}

/// Makes a private key for an SSH server, in OpenSSH's form. The error is one line.
pub fn new_ssh_host_key() -> Result<Secret, String> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(|error| error.to_string())?;
    key.to_openssh(LineEnding::LF).map(|text| Secret::new(text.as_str())).map_err(|error| error.to_string())
}
