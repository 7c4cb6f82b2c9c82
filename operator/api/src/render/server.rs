//! What a server may be asked for and by whom, in URL options or fields, to what the proxy is told. Users and
//! certificates become the names of files; no value of a Secret is here.
//! Invariant: a server without users listens beyond loopback only where that was asked for in so many words.

use fairlead_config::{
    Forward, ListenTls, Scheme, Server, ServerUsers, is_loopback_address,
    url::{NodeUrl, UrlOption},
};

use super::{Place, chain::carries_to_anywhere, files, key_of, link, problems::Problems};
use crate::{PortForward, SecretSource, render::AcceptedReason};

/// Where a server listens that is for nobody else.
pub(super) const LOOPBACK: &str = "127.0.0.1";

/// Whether the clients of a forward say themselves where they go.
pub(super) fn is_server(forward: &Forward) -> bool {
    let has_targets = !forward.targets.is_empty();
    forward.scheme.parse::<Scheme>().is_ok_and(|scheme| scheme.is_server(has_targets))
}

/// What the options of a listener say.
pub(super) fn of_url(url: &NodeUrl) -> Option<Server> {
    let options = url.options();
    let text = |option| options.text(option).map(str::to_owned);
    let (file, authorized_keys) = (text(UrlOption::Secrets), text(UrlOption::SshAuthorizedKeys));
    let users = ServerUsers { file, directory: None, authorized_keys };
    let server = Server {
        users: Some(users).filter(|users| *users != ServerUsers::default()),
        host_key: text(UrlOption::SshKey),
        // The URL's parser has judged them already.
        allow_targets: options.list(UrlOption::AllowTargets).iter().filter_map(|text| text.parse().ok()).collect(),
        allow_bind: options.list(UrlOption::AllowBind).iter().filter_map(|text| text.parse().ok()).collect(),
        anonymous: options.flag(UrlOption::Anonymous).unwrap_or_default(),
    };
    Some(server).filter(|server| *server != Server::default())
}

/// The certificate that the options of a listener name.
pub(super) fn tls_of_url(url: &NodeUrl) -> Option<ListenTls> {
    let text = |option| url.options().text(option).map(str::to_owned);
    Some(ListenTls { certificate: text(UrlOption::Cert)?, key: text(UrlOption::Key)? })
}

/// Adds what the fields say, which wins over the URL.
pub(super) fn with_fields(mut forward: Forward, object: &PortForward, place: Place) -> Forward {
    let namespace = key_of(object).namespace;
    let directory = |source: &SecretSource| files::secret_dir(place, &namespace, &source.secret_ref.name);
    if let Some(fields) = &object.spec.server {
        let mut server = forward.server.unwrap_or_default();
        if let Some(users) = &fields.users {
            let authorized_keys = server.users.and_then(|users| users.authorized_keys);
            server.users = Some(ServerUsers { directory: Some(directory(users)), file: None, authorized_keys });
        }
        if !fields.allow_targets.is_empty() {
            server.allow_targets = fields.allow_targets.iter().filter_map(|text| text.parse().ok()).collect();
        }
        if !fields.allow_bind.is_empty() {
            server.allow_bind = fields.allow_bind.iter().filter_map(|text| text.parse().ok()).collect();
        }
        if let Some(key) = &fields.host_key {
            server.host_key = Some(format!("{}/ssh-privatekey", directory(key)));
        }
        server.anonymous = fields.anonymous.unwrap_or(server.anonymous);
        forward.server = Some(server).filter(|server| *server != Server::default());
    }
    if let Some(tls) = &object.spec.tls {
        let directory = directory(&tls.certificate);
        forward.tls =
            Some(ListenTls { certificate: format!("{directory}/tls.crt"), key: format!("{directory}/tls.key") });
    }
    forward
}

/// Refuses what makes no server, or one that anybody could use unasked.
pub(super) fn check(forward: &Forward, object: &PortForward, place: Place, problems: &mut Problems) {
    let spec = &object.spec;
    if !is_server(forward) {
        if spec.tls.is_some() {
            problems.invalid(
                "spec.tls",
                format!("is for listeners that encrypt, and {} does not; leave it out", forward.scheme),
            );
        }
        if spec.server.is_some() {
            problems.invalid("spec.server", format!("is for servers, and {} is none; leave it out", forward.scheme));
        }
        return;
    }
    if forward.scheme == "ssu" && forward.chain.last().is_some_and(|hop| !carries_to_anywhere(hop)) {
        let message = "ssu sends its clients' datagrams to anywhere, and the last hop carries none of that kind; write \
                       socks5 for it, without udpAssociate (udp_associate)";
        problems.add(AcceptedReason::UnsupportedValue, "spec.chain", message);
    }
    let is_ssh = forward.scheme.parse().is_ok_and(Scheme::uses_ssh);
    if !is_ssh && spec.server.as_ref().is_some_and(|server| server.host_key.is_some()) {
        problems.invalid("spec.server.hostKey", "is for ssh; leave it out");
    }
    if is_ssh && spec.tls.is_some() {
        problems.invalid("spec.tls", "is for listeners that encrypt by TLS, and ssh has server.hostKey; leave it out");
    }
    if !spec.targets.is_empty() && link::protocol_word(&forward.scheme) != "relay" {
        problems.invalid("spec.targets", "the clients of a server name them; leave them out");
    }
    let is_url = spec.url.is_some();
    check_users(forward, is_url, problems);
    if is_url {
        user_has_a_password(object, problems);
        local_files_only_outside(forward, place, problems);
    }
    let host = &forward.listen.host;
    if is_open(forward) && !host.is_empty() && !is_loopback_address(host) {
        let message = format!(
            "without users this serves everybody who can reach {host}: name users, listen on {LOOPBACK}, \
             or write {} if that is meant",
            if is_url { "anonymous=true" } else { "server.anonymous: true" }
        );
        match is_url {
            true => problems.add(AcceptedReason::InvalidURL, link::FIELD, message),
            false => problems.invalid("spec.server.anonymous", message),
        }
    }
}

/// Says that a server without users and address listens on loopback, where others would listen on every address.
pub(super) fn narrowed(forward: &Forward, place: Place) -> Option<String> {
    let is_narrowed =
        is_server(forward) && is_open(forward) && forward.listen.host.is_empty() && place.default_address().is_empty();
    is_narrowed.then(|| {
        format!(
            "without users it listens on {LOOPBACK} only: name users, or write anonymous=true (server.anonymous: true) \
             to serve everybody"
        )
    })
}

fn is_open(forward: &Forward) -> bool {
    !forward.server.as_ref().is_some_and(|server| server.users.is_some() || server.anonymous)
}

/// Some protocols ask nobody who it is, and one can't do without a key.
fn check_users(forward: &Forward, is_url: bool, problems: &mut Problems) {
    let has_users = forward.server.as_ref().is_some_and(|server| server.users.is_some());
    let is_over_ssh = forward.scheme.parse().is_ok_and(Scheme::is_over_ssh);
    let message = match (link::protocol_word(&forward.scheme), has_users) {
        (word @ ("sni" | "socks4" | "socks4a"), true) if !is_over_ssh => {
            format!("{word} asks nobody who it is; leave users out, or write socks5 or http")
        }
        (word @ ("ss" | "ssu"), false) => format!(
            "{word} needs a cipher and a password: write {word}://chacha20-ietf-poly1305:password@:8388 on a command \
             line, or put \"cipher:password\" into a Secret (key users) and name it in server.users"
        ),
        _ => return,
    };
    match is_url {
        true => problems.add(AcceptedReason::InvalidURL, link::FIELD, message),
        false => problems.invalid("spec.server.users", message),
    }
}

/// A user alone is nobody: it would be everybody who knows the name.
fn user_has_a_password(object: &PortForward, problems: &mut Problems) {
    let Some(Ok(url)) = object.spec.url.as_deref().map(|text| NodeUrl::parse(text, fairlead_config::url::Role::Listen))
    else {
        return;
    };
    let has_secret = object.spec.server.as_ref().is_some_and(|server| server.users.is_some());
    if url.credentials().is_some() && !has_secret {
        let message = "a user needs a password: write user:password@ on a command line, \
                       or put \"user:password\" into a Secret (key users) and name it in server.users";
        problems.add(AcceptedReason::InvalidURL, link::FIELD, message);
    }
}

/// A file of the machine is nothing in a pod.
fn local_files_only_outside(forward: &Forward, place: Place, problems: &mut Problems) {
    if !place.is_in_a_cluster() {
        return;
    }
    let names_users =
        forward.server.as_ref().and_then(|server| server.users.as_ref()).is_some_and(|users| users.file.is_some());
    let names_keys = forward
        .server
        .as_ref()
        .and_then(|server| server.users.as_ref())
        .is_some_and(|users| users.authorized_keys.is_some());
    let host_key = forward.server.as_ref().and_then(|server| server.host_key.as_ref());
    let names_host_key = host_key.is_some_and(|path| !path.starts_with(files::SECRETS_DIR));
    let names_certificate = forward.tls.as_ref().is_some_and(|tls| !tls.certificate.starts_with(files::SECRETS_DIR));
    for (is_named, option, instead) in [
        (names_users, "secrets", "put \"name:password\" lines into a Secret (key users) and name it in server.users"),
        (names_keys, "ssh_authorized_keys", "put it into a Secret (key authorized_keys) and name it in server.users"),
        (
            names_host_key,
            "ssh_key",
            "put it into a Secret of type kubernetes.io/ssh-auth and name it in server.hostKey",
        ),
        (names_certificate, "cert", "put it into a Secret of type kubernetes.io/tls and name it in tls.certificate"),
    ] {
        if is_named {
            let message = format!("option \"{option}\" names a file, and a pod has none of yours; {instead}");
            problems.add(AcceptedReason::InvalidURL, link::FIELD, message);
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
