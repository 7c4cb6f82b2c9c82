//! One `-F` in fields: what was said, and what GOST leaves unverified, in so many words.

use fairlead_config::{
    HostPort, Protocol, duration,
    url::{NodeUrl, Secret, UrlOption},
};

use super::{
    forward::host,
    notes::Notes,
    secret::{SecretDocument, source},
};
use crate::{ConfigMapKey, ConfigMapSource, Hop, HopNode, HopTls, SecretSource, Socks5, Ssh};

/// Makes one step of the chain; `name` begins the names of the Secrets and ConfigMaps it refers to.
pub(super) fn hop(url: &NodeUrl, name: &str, notes: &mut Notes, secrets: &mut Vec<SecretDocument>) -> Hop {
    let options = url.options();
    let node = |address: &HostPort| HopNode { host: host(address), port: address.port };
    let time = |option| options.duration(option).map(duration::format);
    let socks5 = Socks5 {
        mbind: options.flag(UrlOption::Mbind),
        no_tls: options.flag(UrlOption::Notls),
        udp_associate: options.flag(UrlOption::UdpAssociate),
    };
    let hop = Hop {
        scheme: Some(url.scheme().to_string()),
        nodes: url.nodes().iter().map(node).collect(),
        strategy: options.strategy(),
        max_fails: options.max_fails(),
        fail_timeout: time(UrlOption::FailTimeout),
        dial_timeout: time(UrlOption::Timeout),
        socks5: Some(socks5).filter(|socks5| *socks5 != Socks5::default()),
        credentials: credentials(url, name, notes, secrets),
        ssh: ssh(url, name, notes),
        tls: Some(tls(url, name, notes)).filter(|tls| *tls != HopTls::default()),
        ..Hop::default()
    };
    notes.options_left_out(url);
    notes.support(url);
    hop
}

fn credentials(
    url: &NodeUrl,
    name: &str,
    notes: &mut Notes,
    secrets: &mut Vec<SecretDocument>,
) -> Option<SecretSource> {
    let options = url.options();
    if let Some(credentials) = url.credentials() {
        let password = credentials.password.as_ref().map(|password| ("password", Secret::expose(password).to_owned()));
        let user = Some(("username", credentials.user.clone())).filter(|(_, user)| !user.is_empty());
        secrets.push(SecretDocument::new(name, user.into_iter().chain(password)));
    }
    let files = [(UrlOption::Secrets, "username and password (its first line)"), (UrlOption::SshKey, "ssh-privatekey")];
    let mut has_file = false;
    for (option, key) in files {
        let Some(file) = options.text(option) else { continue };
        notes.file(option.name(), file, &format!("Secret {name}"), key);
        has_file = true;
    }
    let has_password = url.credentials().is_some_and(|credentials| credentials.password.is_some());
    if url.scheme().uses_ssh() && !has_file && !has_password {
        // An agent or a key of the user's own is nothing in a pod.
        notes.add(format!(
            "put a private key into Secret {name} under the key ssh-privatekey, and the user under username"
        ));
        has_file = true;
    }
    (has_file || url.credentials().is_some()).then(|| source(name))
}

fn ssh(url: &NodeUrl, name: &str, notes: &mut Notes) -> Option<Ssh> {
    if !url.scheme().uses_ssh() {
        return None;
    }
    let known_hosts = url.options().text(UrlOption::SshKnownHosts).map(|file| {
        let map = format!("{name}-known-hosts");
        notes.file("ssh_known_hosts", file, &format!("ConfigMap {map}"), "known_hosts");
        config_map(&map)
    });
    let is_unverified = known_hosts.is_none();
    if is_unverified {
        notes.add(
            "GOST trusts any host key, written out as insecureIgnoreHostKey: true; \
             name ssh.hostKeys or ssh.knownHosts instead",
        );
    }
    Some(Ssh {
        known_hosts,
        insecure_ignore_host_key: is_unverified.then_some(true),
        keep_alive: url.options().duration(UrlOption::Ping).map(duration::format),
        ..Ssh::default()
    })
}

fn tls(url: &NodeUrl, name: &str, notes: &mut Notes) -> HopTls {
    let options = url.options();
    let ca = options.text(UrlOption::Ca).map(|file| {
        let map = format!("{name}-ca");
        notes.file("ca", file, &format!("ConfigMap {map}"), "ca.crt");
        config_map(&map)
    });
    let secret = format!("{name}-tls");
    let mut certificate = None;
    for (option, key) in [(UrlOption::Cert, "tls.crt"), (UrlOption::Key, "tls.key")] {
        let Some(file) = options.text(option) else { continue };
        notes.file(option.name(), file, &format!("Secret {secret} of type kubernetes.io/tls"), key);
        certificate = Some(source(&secret));
    }
    let insecure_skip_verify = insecure_skip_verify(url, ca.is_some(), notes);
    HopTls { server_name: server_name(url), ca, certificate, insecure_skip_verify }
}

/// The certificate must carry the URL's host, also where `ip=` lists other addresses to dial.
fn server_name(url: &NodeUrl) -> Option<String> {
    let host = &url.address().host;
    let is_dialled = url.nodes().iter().all(|node| node.host == *host);
    (url.scheme().transport().is_tls() && !is_dialled && !host.is_empty()).then(|| host.clone())
}

/// GOST verifies only with `secure=true`; here it is the other way round, but for what SOCKS5 negotiates by itself.
fn insecure_skip_verify(url: &NodeUrl, has_ca: bool, notes: &mut Notes) -> Option<bool> {
    let secure = url.options().flag(UrlOption::Secure);
    if !url.scheme().transport().is_tls() {
        let speaks_socks5 = matches!(url.scheme().protocol(), Protocol::Socks5 | Protocol::Auto);
        let negotiates_tls = speaks_socks5 && !url.scheme().uses_ssh();
        return (negotiates_tls && secure == Some(true)).then_some(false);
    }
    match secure {
        Some(true) => None,
        None if has_ca => {
            notes.add(
                "GOST checks the certificate's issuer and not its name; here both: write tls.serverName if it differs",
            );
            None
        }
        Some(false) | None => {
            notes.add(
                "GOST trusts any certificate unless secure=true, written out as insecureSkipVerify: true; \
                 take it out to have the certificate verified",
            );
            Some(true)
        }
    }
}

fn config_map(name: &str) -> ConfigMapSource {
    ConfigMapSource { config_map_ref: ConfigMapKey { name: name.to_owned(), key: None } }
}
