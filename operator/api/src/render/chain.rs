//! The chain of an object, in URLs or fields, to the hops that a proxy goes through. Credentials become the names of
//! files; no value of a Secret is here.

use std::time::Duration;

use fairlead_config::{
    Forward, Hop, HopCredentials, HopSocks5, HopSsh, HopTls, HostPort, Protocol, Scheme, Support, check_host, duration,
    url::{NodeUrl, Role, UrlOption},
};

use super::{Place, files, key_of, link, problems::Problems, server::is_server};
use crate::{ConfigMapSource, PortForward, SecretSource, render::AcceptedReason};

/// Reads one object's chain.
pub(super) struct Reader<'a> {
    pub(super) object: &'a PortForward,
    pub(super) place: Place,
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Reads every hop, so that all problems are found.
    pub(super) fn read(mut self) -> Vec<Hop> {
        let hops = self.object.spec.chain.iter().enumerate();
        hops.filter_map(|(index, hop)| {
            let field = format!("spec.chain[{index}]");
            match (&hop.url, &hop.scheme) {
                (Some(url), None) => self.of_url(&field, url, hop),
                (None, Some(scheme)) => self.of_fields(&field, scheme, hop),
                // The rules say so already.
                (Some(_), Some(_)) | (None, None) => None,
            }
        })
        .collect()
    }

    fn of_url(&mut self, field: &str, text: &str, hop: &crate::Hop) -> Option<Hop> {
        let at = format!("{field}.url");
        let url = match NodeUrl::parse(text, Role::Hop) {
            Ok(url) => url,
            Err(errors) => {
                link::complain(&at, errors, self.problems);
                return None;
            }
        };
        let scheme = self.supported(&at, url.scheme())?;
        self.local_files_only_outside(&at, &url);
        let options = url.options();
        let flag = |option| options.flag(option).unwrap_or_default();
        let socks5 = HopSocks5 {
            no_tls: flag(UrlOption::Notls),
            mbind: flag(UrlOption::Mbind),
            udp_associate: flag(UrlOption::UdpAssociate),
        };
        let file = options.text(UrlOption::Secrets).map(str::to_owned);
        let username = url.credentials().map(|credentials| credentials.user.clone()).filter(|user| !user.is_empty());
        // Of SSH it says whether the host key is verified.
        let is_of_tls = !url.scheme().uses_ssh();
        let verify = options.flag(UrlOption::Secure).filter(|secure| *secure && is_of_tls);
        let tls = HopTls { verify, ..self.tls(hop) };
        let of_option = |option, field: Option<String>| field.or_else(|| options.text(option).map(str::to_owned));
        let tls = HopTls {
            ca: of_option(UrlOption::Ca, tls.ca.clone()),
            certificate: of_option(UrlOption::Cert, tls.certificate.clone()),
            key: of_option(UrlOption::Key, tls.key.clone()),
            verify: self.tls(hop).verify.or(tls.verify),
            ..tls
        };
        let (ssh, credentials) = self.ssh_of_url(field, &url, hop);
        Some(Hop {
            scheme,
            nodes: url.nodes().iter().map(here_if_empty).collect(),
            strategy: options.strategy(),
            max_fails: options.max_fails(),
            fail_timeout: options.duration(UrlOption::FailTimeout),
            dial_timeout: options.duration(UrlOption::Timeout),
            socks5: Some(socks5).filter(|socks5| *socks5 != HopSocks5::default()),
            credentials: self.credentials(hop.credentials.as_ref(), HopCredentials { username, file, ..credentials }),
            tls: Some(tls).filter(|tls| *tls != HopTls::default()),
            ssh,
        })
    }

    fn of_fields(&mut self, field: &str, text: &str, hop: &crate::Hop) -> Option<Hop> {
        let at = format!("{field}.scheme");
        let scheme = match text.parse::<Scheme>() {
            Ok(scheme) => self.supported(&at, scheme),
            Err(error) => {
                self.problems.add(AcceptedReason::UnsupportedValue, at, error);
                None
            }
        };
        for (index, node) in hop.nodes.iter().enumerate() {
            if let Err(error) = check_host(&node.host) {
                self.problems.invalid(&format!("{field}.nodes[{index}].host"), error);
            }
        }
        let socks5 = hop.socks5.as_ref().map(|socks5| HopSocks5 {
            no_tls: socks5.no_tls.unwrap_or_default(),
            mbind: socks5.mbind.unwrap_or_default(),
            udp_associate: socks5.udp_associate.unwrap_or_default(),
        });
        let fail_timeout = self.positive(&format!("{field}.failTimeout"), hop.fail_timeout.as_deref());
        let dial_timeout = self.positive(&format!("{field}.dialTimeout"), hop.dial_timeout.as_deref());
        Some(Hop {
            scheme: scheme?,
            nodes: hop.nodes.iter().map(|node| HostPort::new(node.host.clone(), node.port)).collect(),
            strategy: hop.strategy,
            max_fails: hop.max_fails,
            fail_timeout,
            dial_timeout,
            socks5: socks5.filter(|socks5| *socks5 != HopSocks5::default()),
            credentials: self.credentials(hop.credentials.as_ref(), HopCredentials::default()),
            tls: Some(self.tls(hop)).filter(|tls| *tls != HopTls::default()),
            ssh: self.ssh(field, hop),
        })
    }

    /// Returns the word a proxy knows the hop's scheme by, if this version goes through it.
    fn supported(&mut self, field: &str, scheme: Scheme) -> Option<String> {
        if let Err(error) = scheme.check_hop_support() {
            self.problems.add(AcceptedReason::UnsupportedValue, field, error);
        }
        match scheme.hop_support() {
            Support::Built if scheme.is_ssh_hop() => Some(SSH.to_owned()),
            Support::Built => word(scheme.protocol()).map(|word| link::with_transport(word, scheme)),
            Support::NotBuiltYet | Support::OutOfScope => None,
        }
    }

    /// A file of the machine is nothing in a pod.
    fn local_files_only_outside(&mut self, field: &str, url: &NodeUrl) {
        if !self.place.is_in_a_cluster() {
            return;
        }
        for (option, instead) in [
            (UrlOption::Secrets, "put its content into a Secret and name it in credentials"),
            (UrlOption::Ca, "put its content into a ConfigMap and name it in tls.ca"),
            (UrlOption::Cert, "put it into a Secret of type kubernetes.io/tls and name it in tls.certificate"),
            (UrlOption::Key, "put it into a Secret of type kubernetes.io/tls and name it in tls.certificate"),
            (UrlOption::SshKey, "put it into a Secret under the key ssh-privatekey and name it in credentials"),
            (UrlOption::SshKnownHosts, "put its content into a ConfigMap and name it in ssh.knownHosts"),
        ] {
            if url.options().contains(option) {
                let message =
                    format!("option \"{}\" names a file, and a pod has none of yours; {instead}", option.name());
                self.problems.add(AcceptedReason::InvalidURL, field, message);
            }
        }
    }

    fn credentials(&self, secret: Option<&SecretSource>, others: HopCredentials) -> Option<HopCredentials> {
        let directory = secret.map(|secret| self.secret_dir(secret));
        let credentials = HopCredentials { directory, ..others };
        Some(credentials).filter(|credentials| *credentials != HopCredentials::default())
    }

    /// The options of an SSH hop's URL, over the fields beside it.
    fn ssh_of_url(&mut self, field: &str, url: &NodeUrl, hop: &crate::Hop) -> (Option<HopSsh>, HopCredentials) {
        let options = url.options();
        let mut ssh = self.ssh(field, hop).unwrap_or_default();
        let texts = |option| options.text(option).map(str::to_owned).into_iter().collect::<Vec<_>>();
        if ssh.known_hosts.is_empty() {
            ssh.known_hosts = texts(UrlOption::SshKnownHosts);
        }
        ssh.keep_alive = options.duration(UrlOption::Ping).or(ssh.keep_alive);
        ssh.insecure_ignore_host_key |= url.scheme().uses_ssh() && options.flag(UrlOption::Secure) == Some(false);
        let credentials = HopCredentials { keys: texts(UrlOption::SshKey), ..HopCredentials::default() };
        (Some(ssh).filter(|ssh| *ssh != HopSsh::default()), credentials)
    }

    fn ssh(&mut self, field: &str, hop: &crate::Hop) -> Option<HopSsh> {
        let ssh = hop.ssh.as_ref()?;
        let keep_alive = ssh.keep_alive.as_deref().map(duration::parse).transpose();
        let keep_alive = keep_alive.unwrap_or_else(|error| {
            self.problems.invalid(&format!("{field}.ssh.keepAlive"), error);
            None
        });
        for (index, key) in ssh.host_keys.iter().enumerate().filter(|(_, key)| !looks_like_a_key(key)) {
            let message = format!("{key:?} is no host key; write one as in \"ssh-ed25519 AAAA…\"");
            self.problems.invalid(&format!("{field}.ssh.hostKeys[{index}]"), message);
        }
        Some(HopSsh {
            host_keys: ssh.host_keys.clone(),
            known_hosts: ssh.known_hosts.iter().map(|source| self.config_map_file(source, "known_hosts")).collect(),
            insecure_ignore_host_key: ssh.insecure_ignore_host_key.unwrap_or_default(),
            keep_alive,
        })
    }

    fn tls(&self, hop: &crate::Hop) -> HopTls {
        let Some(tls) = &hop.tls else { return HopTls::default() };
        let certificate = tls.certificate.as_ref().map(|secret| self.secret_dir(secret));
        HopTls {
            verify: tls.insecure_skip_verify.map(|skipped| !skipped),
            server_name: tls.server_name.clone(),
            ca: tls.ca.as_ref().map(|source| self.config_map_file(source, "ca.crt")),
            certificate: certificate.as_ref().map(|directory| format!("{directory}/tls.crt")),
            key: certificate.map(|directory| format!("{directory}/tls.key")),
        }
    }

    fn secret_dir(&self, source: &SecretSource) -> String {
        files::secret_dir(self.place, &key_of(self.object).namespace, &source.secret_ref.name)
    }

    fn config_map_file(&self, source: &ConfigMapSource, default_key: &str) -> String {
        let reference = &source.config_map_ref;
        let directory = files::config_map_dir(self.place, &key_of(self.object).namespace, &reference.name);
        format!("{directory}/{}", reference.key.as_deref().unwrap_or(default_key))
    }

    fn positive(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        match duration::parse(text?) {
            Ok(duration) if duration.is_zero() => {
                self.problems
                    .invalid(field, "0s is no time to wait; write 30s or 500ms, or leave it out for the default");
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                self.problems.invalid(field, error);
                None
            }
        }
    }
}

/// Adds what only the chain and the rest of the forward together can be wrong by.
pub(super) fn check(forward: &Forward, is_url: bool, place: Place, problems: &mut Problems) {
    let scheme = &forward.scheme;
    let last = forward.chain.last();
    let can_listen = |hop: &Hop| speaks(hop, "socks5") || (hop.scheme == SSH && !forward.is_datagram());
    if let Some(hop) = last.filter(|hop| forward.is_remote() && !can_listen(hop)) {
        let message = format!(
            "{scheme} needs a last hop that can listen, and {} can't; write socks5 for it, or tcp or udp to listen here",
            hop.scheme
        );
        return problems.add(AcceptedReason::UnsupportedValue, "spec.chain", message);
    }
    let is_server = is_server(forward);
    if scheme == "udp"
        && let Some(message) = datagrams_problem(&forward.chain)
    {
        problems.add(AcceptedReason::UnsupportedValue, format!("spec.chain[{}]", forward.chain.len() - 1), message);
    }
    let leaves_the_target = last.is_some_and(|hop| hop.scheme == "forward");
    let field = if is_url { link::FIELD } else { "spec.targets" };
    if leaves_the_target && is_server {
        let message = "the last hop is \"forward\", whose far end says itself where it goes, and clients of a server say \
                       so, too; write socks5 or http for the hop";
        problems.add(AcceptedReason::UnsupportedValue, "spec.chain", message);
    }
    let hop_may_know = scheme == "tcp" && (leaves_the_target || last.is_some_and(|hop| speaks(hop, "relay")));
    let may_leave_the_target = hop_may_know || is_server;
    if last.is_some() && !may_leave_the_target && forward.targets.is_empty() {
        let message = format!(
            "scheme \"{scheme}\" needs a target: write where the traffic ends, as in /db.example:5432 or in targets"
        );
        problems.add(if is_url { AcceptedReason::InvalidURL } else { AcceptedReason::InvalidSpec }, field, message);
    }
    if leaves_the_target && !forward.targets.is_empty() {
        let message = "the last hop is \"forward\", whose far end says itself where it goes; \
                       leave the targets out, or write socks5 or http for the hop";
        problems.add(AcceptedReason::UnsupportedValue, field, message);
    }
    for (index, hop) in forward.chain.iter().enumerate() {
        let field = format!("spec.chain[{index}]");
        check_hop(hop, &field, problems);
        check_ssh(hop, &field, place, problems);
    }
    if last.is_some_and(|hop| hop.scheme == SSH) && forward.is_datagram() {
        problems.invalid("spec.chain", "SSH forwards TCP and no datagrams; write socks5 or relay for the last hop");
    }
}

/// In a cluster everything is said; on a laptop the rest is what ssh would take.
fn check_ssh(hop: &Hop, field: &str, place: Place, problems: &mut Problems) {
    if !hop.scheme.parse().is_ok_and(Scheme::uses_ssh) {
        if hop.ssh.is_some() {
            let message = "is for hops over SSH only, such as forward+ssh; leave it out";
            problems.invalid(&format!("{field}.ssh"), message);
        }
        return;
    }
    if !place.is_in_a_cluster() {
        return;
    }
    let is_named = |credentials: &HopCredentials| credentials.directory.is_some();
    if !hop.credentials.as_ref().is_some_and(is_named) {
        let message = "is missing; name a Secret with the keys username, and ssh-privatekey or password";
        problems.invalid(&format!("{field}.credentials"), message);
    }
    let ssh = hop.ssh.clone().unwrap_or_default();
    if ssh.known_hosts.is_empty() && ssh.host_keys.is_empty() && !ssh.insecure_ignore_host_key {
        let message = "no host key is known; write hostKeys or knownHosts (ssh-keyscan HOST shows the keys), \
                       or insecureIgnoreHostKey: true to trust anybody";
        problems.invalid(&format!("{field}.ssh"), message);
    }
}

/// Whether it is this protocol, whatever carries it.
fn speaks(hop: &Hop, word: &str) -> bool {
    link::protocol_word(&hop.scheme) == word
}

/// Whether one stream through the hop carries datagrams to and from anywhere (GOST's UDP over TCP).
pub(super) fn carries_to_anywhere(hop: &Hop) -> bool {
    speaks(hop, "socks5") && !hop.socks5.as_ref().is_some_and(|socks5| socks5.udp_associate)
}

/// What keeps datagrams from going through these hops.
fn datagrams_problem(hops: &[Hop]) -> Option<String> {
    let last = hops.last()?;
    let associates = last.socks5.as_ref().is_some_and(|socks5| socks5.udp_associate);
    let word = link::protocol_word(&last.scheme);
    match (word, associates) {
        ("relay", _) | ("socks5", false) => None,
        (word @ ("socks5" | "ss"), _) => (hops.len() > 1 || word != last.scheme).then(|| {
            let what = if word == "ss" { "ss" } else { "socks5 with udpAssociate (udp_associate)" };
            format!(
                "{what} takes datagrams as such, which go through no other hop and not over SSH; leave those out, or \
                 write socks5 or relay"
            )
        }),
        (word, _) => Some(format!(
            "a last hop {word} carries no datagrams; write socks5 (GOST's UDP over TCP, or udpAssociate for other \
             servers), relay or ss for it"
        )),
    }
}

fn check_hop(hop: &Hop, field: &str, problems: &mut Problems) {
    let tls = hop.tls.clone().unwrap_or_default();
    let no_tls = hop.socks5.as_ref().is_some_and(|socks5| socks5.no_tls);
    let is_socks5 = speaks(hop, "socks5");
    if hop.tls.is_some() && hop.scheme != "socks5" {
        let message = format!("is for hops that encrypt by TLS, and {} does not; leave it out", hop.scheme);
        problems.invalid(&format!("{field}.tls"), message);
    }
    if hop.socks5.is_some() && !is_socks5 {
        problems
            .invalid(&format!("{field}.socks5"), format!("is for socks5, and not for {}; leave it out", hop.scheme));
    }
    if no_tls && tls.verify.unwrap_or(tls.ca.is_some() || tls.server_name.is_some()) {
        let message = "excludes a verified certificate (secure, tls.ca, tls.serverName); leave one out";
        problems.invalid(&format!("{field}.socks5.noTLS"), message);
    }
    if hop.scheme == "forward" && hop.credentials.is_some() {
        problems.invalid(&format!("{field}.credentials"), "forward takes none; leave them out");
    }
    let credentials = hop.credentials.as_ref();
    if speaks(hop, "ss") && credentials.is_none_or(|said| said.directory.is_none() && said.file.is_none()) {
        let message = "ss needs a Secret with the cipher as username (unless the url has it, as in ss://chacha20@:8338) and the password";
        problems.invalid(&format!("{field}.credentials"), message);
    }
}

/// What a line of `authorized_keys` looks like; the proxy reads it.
fn looks_like_a_key(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let is_known = ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|begin| kind.starts_with(begin));
    is_known && words.next().is_some_and(|key| key.starts_with("AAAA"))
}

/// The word of an SSH hop.
const SSH: &str = "forward+ssh";

/// However it was written: socks is socks5, and no scheme at all is http.
fn word(protocol: Protocol) -> Option<&'static str> {
    const WORDS: [(Protocol, &str); 9] = [
        (Protocol::Socks5, "socks5"),
        (Protocol::Socks4, "socks4"),
        (Protocol::Socks4a, "socks4a"),
        (Protocol::Http, "http"),
        (Protocol::Auto, "http"),
        (Protocol::Relay, "relay"),
        (Protocol::Ss, "ss"),
        (Protocol::Ssu, "ss"),
        (Protocol::Forward, "forward"),
    ];
    WORDS.into_iter().find(|(known, _)| *known == protocol).map(|(_, word)| word)
}

/// Dialling no host means this one.
fn here_if_empty(node: &HostPort) -> HostPort {
    let host = if node.host.is_empty() { "localhost" } else { &node.host };
    HostPort::new(host, node.port)
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
