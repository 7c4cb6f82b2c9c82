//! A server of ours that carries a proxy's protocol over SSH, run with keys of its own.

use crate::{
    binary::{Fairlead, Launch},
    ports,
    sshd::Keys,
};

/// A server of ours over SSH, with its keys.
pub struct Server {
    pub fairlead: Fairlead,
    pub keys: Keys,
    scheme: &'static str,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// A server for this login.
    pub fn of(scheme: &'static str, login: &str) -> Self {
        Self::start(scheme, &format!("{login}@"), |_| String::new())
    }

    /// A server for one key, as a line of `authorized_keys` makes it known.
    pub fn of_key(scheme: &'static str, line: impl FnOnce(&str) -> String) -> Self {
        Self::start(scheme, "", |keys| {
            format!("&ssh_authorized_keys={}", keys.write("authorized_keys", &line(&keys.public("id"))))
        })
    }

    fn start(scheme: &'static str, login: &str, options: impl FnOnce(&Keys) -> String) -> Self {
        let (keys, port) = (Keys::default(), ports::free());
        for name in ["host", "id", "other"] {
            keys.make(name, &["-t", "ed25519", "-N", ""]);
        }
        let options = options(&keys);
        let url = format!(
            "{scheme}://{login}127.0.0.1:{port}?ssh_key={}&allow_targets=127.0.0.0/8{options}",
            keys.text_path("host")
        );
        let server = Self { fairlead: serve(&url, port), keys, scheme, port };
        server.keys.write("known_hosts", &server.known_by("host"));
        server
    }

    /// Its line in a `known_hosts`, with this key.
    pub fn known_by(&self, key: &str) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.keys.public(key))
    }

    /// It as a hop, for whoever has this login and knows its host key.
    pub fn hop(&self, login: &str) -> String {
        let known = self.keys.text_path("known_hosts");
        format!("{}://{login}@127.0.0.1:{}?ssh_known_hosts={known}", self.scheme, self.port)
    }

    /// The same with a key.
    pub fn hop_by(&self, key: &str) -> String {
        format!("{}&ssh_key={}", self.hop("ann"), self.keys.text_path(key))
    }

    /// Its address as a URL has it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Runs a server at this URL, once it listens.
pub fn serve(url: &str, port: u16) -> Fairlead {
    let fairlead = Launch::new(["run", "-o", "json", "-L", url]).start();
    fairlead.await_listening(port);
    fairlead
}
