//! One `-L` in fields: what was said, nothing else.

use fairlead_config::{
    HostPort, Scheme, Transport, duration,
    url::{NodeUrl, Secret, UrlOption},
};

use super::{
    notes::Notes,
    secret::{SecretDocument, source},
};
use crate::{HealthCheck, Listen, ListenTls, PortForwardSpec, Server, Target};

/// Makes the spec of a listener, without its chain.
pub(super) fn spec(url: &NodeUrl, name: &str, notes: &mut Notes, secrets: &mut Vec<SecretDocument>) -> PortForwardSpec {
    let options = url.options();
    let time = |option| options.duration(option).map(duration::format);
    let is_server = url.scheme().is_server(!url.targets().is_empty());
    let server = is_server.then(|| server(url, name, notes, secrets));
    let spec = PortForwardSpec {
        scheme: Some(scheme(url)),
        listen: Some(listen(url)),
        targets: url.targets().iter().map(target).collect(),
        strategy: options.strategy(),
        max_fails: options.max_fails(),
        fail_timeout: time(UrlOption::FailTimeout),
        ttl: time(UrlOption::Ttl),
        dial_timeout: time(UrlOption::Timeout),
        hedge_delay: time(UrlOption::HedgeDelay),
        idle_timeout: time(UrlOption::IdleTimeout),
        max_connections: options.count(UrlOption::MaxConnections),
        health_check: options.health_check().map(|check| HealthCheck {
            interval: duration::format(check.interval),
            timeout: check.timeout.map(duration::format),
        }),
        tls: tls(url, name, notes),
        server: server.filter(|server| *server != Server::default()),
        ..PortForwardSpec::default()
    };
    notes.options_left_out(url);
    notes.support(url);
    listening_address(url, spec.server.as_ref(), is_server, notes);
    spec
}

/// What GOST calls nothing, or auto, is a TCP forward once it has targets.
fn scheme(url: &NodeUrl) -> String {
    let is_tcp = url.scheme().is_tunnel(!url.targets().is_empty()) && url.scheme().transport() == Transport::Tcp;
    if is_tcp { "tcp".to_owned() } else { url.scheme().to_string() }
}

/// A target or node's host; dialling no host means this one.
pub(super) fn host(address: &HostPort) -> String {
    if address.host.is_empty() { "localhost".to_owned() } else { address.host.clone() }
}

fn listen(url: &NodeUrl) -> Listen {
    let HostPort { host, port } = url.address().clone();
    Listen { address: Some(host).filter(|host| !host.is_empty()), port }
}

fn target(address: &HostPort) -> Target {
    Target { host: Some(host(address)), port: Some(address.port), service: None }
}

fn server(url: &NodeUrl, name: &str, notes: &mut Notes, secrets: &mut Vec<SecretDocument>) -> Server {
    let options = url.options();
    let users = users(url, &format!("{name}-users"), notes, secrets);
    let host_key = options.text(UrlOption::SshKey).map(|file| {
        let host_key = format!("{name}-host-key");
        notes.file("ssh_key", file, &format!("Secret {host_key}"), "ssh-privatekey");
        source(&host_key)
    });
    Server {
        users,
        host_key,
        allow_targets: options.list(UrlOption::AllowTargets).iter().map(|network| with_length(network)).collect(),
        allow_bind: options.list(UrlOption::AllowBind).to_vec(),
        anonymous: options.flag(UrlOption::Anonymous),
    }
}

/// Puts logins into a Secret, and asks for those in files to be put there.
fn users(
    url: &NodeUrl,
    secret: &str,
    notes: &mut Notes,
    secrets: &mut Vec<SecretDocument>,
) -> Option<crate::SecretSource> {
    let options = url.options();
    if let Some(credentials) = url.credentials() {
        let password = credentials.password.as_ref().map(Secret::expose).unwrap_or_default();
        secrets.push(SecretDocument::new(secret, [("users", format!("{}:{password}", credentials.user))]));
    }
    let files =
        [(UrlOption::Secrets, "users (name:password, one a line)"), (UrlOption::SshAuthorizedKeys, "authorized_keys")];
    let mut has_file = false;
    for (option, key) in files {
        let Some(file) = options.text(option) else { continue };
        notes.file(option.name(), file, &format!("Secret {secret}"), key);
        has_file = true;
    }
    (has_file || url.credentials().is_some()).then(|| source(secret))
}

/// A single address is a network of one.
fn with_length(network: &str) -> String {
    match network {
        network if network.contains('/') => network.to_owned(),
        address if address.contains(':') => format!("{address}/128"),
        address => format!("{address}/32"),
    }
}

fn tls(url: &NodeUrl, name: &str, notes: &mut Notes) -> Option<ListenTls> {
    let secret = format!("{name}-tls");
    let files = [(UrlOption::Cert, "tls.crt"), (UrlOption::Key, "tls.key")];
    let mut has_file = false;
    for (option, key) in files {
        let Some(file) = url.options().text(option) else { continue };
        notes.file(option.name(), file, &format!("Secret {secret} of type kubernetes.io/tls"), key);
        has_file = true;
    }
    has_file.then(|| ListenTls { certificate: source(&secret) })
}

/// GOST listens on every address where none is said; here it depends on the place.
fn listening_address(url: &NodeUrl, server: Option<&Server>, is_server: bool, notes: &mut Notes) {
    let is_said = !url.address().host.is_empty();
    if is_said || Scheme::is_remote(url.scheme()) {
        return;
    }
    let is_open = server.is_some_and(|server| server.users.is_some() || server.anonymous == Some(true));
    if is_server && !is_open {
        notes.add(
            "GOST serves everybody on every address; without users this is loopback only: \
             name users, or write server.anonymous: true and listen.address: 0.0.0.0",
        );
        return;
    }
    notes.add(
        "GOST listens on every address, and so does a gateway; in a sidecar and with `fairlead run FILE` it is loopback \
         only: write listen.address to choose",
    );
}
