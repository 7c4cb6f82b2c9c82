//! Every CEL rule of the CRD with its message. The API server and the offline check evaluate the same texts.
//! Each says which field and what to write instead; each string and list a rule walks has a limit, as the
//! API server's cost estimate demands. A URL's content is `render`'s to judge, but for passwords.

use kube::core::{Reason, Rule};

/// Schemes that carry traffic onward and so have no users of their own.
const FORWARDS: &str =
    "['tcp', 'udp', 'rtcp', 'rudp', 'tls', 'mtls', 'ws', 'wss', 'mws', 'mwss', 'kcp', 'quic', 'h2', 'h2c']";

const SHORT_NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const HOST: &str =
    r"^([A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_.])?|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[-A-Za-z0-9._]+)?)$";

/// Without a field path: API servers take none into `metadata`, which is no part of the schema.
pub(super) fn object_name() -> Rule {
    Rule::new(format!("self.metadata.name.size() <= 50 && self.metadata.name.matches('{SHORT_NAME}')"))
        .message("metadata.name: write at most 50 lower case letters, digits and '-', a letter first and no '-' last")
}

pub(super) fn short_name(field: &str) -> Rule {
    Rule::new(format!("self.matches('{SHORT_NAME}')")).message(text(format!(
        "{field}: write at most 50 lower case letters, digits and '-', a letter first and no '-' last"
    )))
}

pub(super) fn subdomain(field: &str) -> Rule {
    Rule::new(format!("self.matches('{SUBDOMAIN}')")).message(text(format!(
        "{field}: write an object's name: lower case letters, digits, '-' and '.', no slash and no '..'"
    )))
}

pub(super) fn service_name() -> Rule {
    Rule::new(format!("self.matches('{SHORT_NAME}')"))
        .message("service.name: write the name of a Service in this namespace: lower case letters, digits and '-', without a domain")
}

pub(super) fn data_key() -> Rule {
    Rule::new("self.matches('^[-._A-Za-z0-9]+$') && self != '.' && !self.startsWith('..')")
        .message("configMapRef.key: write a key of the ConfigMap: letters, digits, '-', '_' and '.', no slash and no leading '..'")
}

pub(super) fn host() -> Rule {
    Rule::new(format!("self.matches('{HOST}')"))
        .message("host: write a host name or an IP address, without brackets and without a port, which goes into port")
}

pub(super) fn listen_address() -> Rule {
    Rule::new(format!("self == '' || self.matches('{HOST}')"))
        .message("listen.address: write an IP address or a host name, without brackets and without a port, or leave it out for the default")
}

pub(super) fn server_name() -> Rule {
    Rule::new(format!("self.matches('{HOST}')"))
        .message("tls.serverName: write the host name or IP address in the hop's certificate, without a port")
}

pub(super) fn url_or_scheme() -> Rule {
    Rule::new("has(self.url) != has(self.scheme)")
        .message("write exactly one of url and scheme")
        .reason(Reason::FieldValueRequired)
}

pub(super) fn url_excludes(field: &str) -> Rule {
    Rule::new(format!("!(has(self.url) && has(self.{field}))"))
        .message(text(format!("{field}: leave it out, the url says it; or write scheme and fields instead of the url")))
        .reason(Reason::FieldValueForbidden)
        .field_path(format!(".{field}"))
}

pub(super) fn scheme_needs_listen() -> Rule {
    Rule::new("!has(self.scheme) || has(self.listen)")
        .message("listen: needed with scheme; write listen: {port: 5432}")
        .reason(Reason::FieldValueRequired)
        .field_path(".listen")
}

pub(super) fn port_zero_at_the_far_end_only() -> Rule {
    Rule::new("!has(self.listen) || !has(self.scheme) || self.listen.port != 0 || self.scheme in ['rtcp', 'rudp']")
        .message("listen.port: write 1 to 65535; 0 (the far end chooses) is for rtcp and rudp only")
        .field_path(".listen.port")
}

pub(super) fn far_end_needs_a_chain() -> Rule {
    Rule::new(
        "!((has(self.scheme) && self.scheme in ['rtcp', 'rudp']) || (has(self.url) && self.url.matches('^r(tcp|udp)://'))) \
         || (has(self.chain) && self.chain.size() > 0)",
    )
    .message("chain: rtcp and rudp listen at the far end of a chain; name its hops, or write tcp or udp to listen here")
    .reason(Reason::FieldValueRequired)
    .field_path(".chain")
}

pub(super) fn forward_needs_targets() -> Rule {
    Rule::new(
        "!has(self.scheme) || (has(self.targets) && self.targets.size() > 0) || !(self.scheme in ['tcp', 'udp', 'rtcp', 'rudp']) \
         || (self.scheme in ['tcp', 'udp'] && has(self.chain) && self.chain.size() > 0)",
    )
    .message("targets: say where the traffic ends; write targets: [{host: db.example, port: 5432}]")
    .reason(Reason::FieldValueRequired)
    .field_path(".targets")
}

pub(super) fn server_needs_a_server_scheme() -> Rule {
    Rule::new(format!(
        "!has(self.server) || !((has(self.scheme) && self.scheme in {FORWARDS}) || (has(self.url) && self.url.matches('^r?(tcp|udp)://')))"
    ))
    .message("server: only for a server scheme such as socks5, http, ss or forward+ssh; leave it out for a forward")
    .reason(Reason::FieldValueForbidden)
    .field_path(".server")
}

pub(super) fn gateway_or_sidecar() -> Rule {
    Rule::new("!(has(self.gateway) && has(self.sidecar))")
        .message("write at most one of gateway and sidecar")
        .reason(Reason::FieldValueForbidden)
        .field_path(".sidecar")
}

/// A user name alone may stay, and so may a cipher (`ss://chacha20@:8338`). Deliberately wide: a password with a
/// slash in it ends the authority for a parser, and must be refused here all the same.
pub(super) fn no_password_in_url() -> Rule {
    Rule::new("!has(self.url) || !self.url.matches('//[^?#]*:[^?#]*@|^[^/?#:@]*:[^/?#][^?#]*@|[?&]auth=')")
        .message("url: a password does not belong here; put it into a Secret and name it in credentials")
        .reason(Reason::FieldValueForbidden)
        .field_path(".url")
}

pub(super) fn host_or_service() -> Rule {
    Rule::new("has(self.host) != has(self.service)")
        .message("write exactly one of host (with port) and service")
        .reason(Reason::FieldValueRequired)
}

pub(super) fn host_needs_port() -> Rule {
    Rule::new("has(self.host) == has(self.port)")
        .message(
            "port: write it with host and only there; a service has a port of its own: {service: {name: db, port: 5432}}",
        )
        .field_path(".port")
}

pub(super) fn replicas_of_own_gateway() -> Rule {
    Rule::new("!(has(self.name) && has(self.replicas))")
        .message(
            "gateway.replicas: leave it out with gateway.name; a shared gateway takes its number from the installation",
        )
        .reason(Reason::FieldValueForbidden)
        .field_path(".replicas")
}

pub(super) fn hop_url_or_scheme() -> Rule {
    Rule::new("has(self.url) != has(self.scheme)")
        .message("write exactly one of url and scheme for each hop")
        .reason(Reason::FieldValueRequired)
}

pub(super) fn hop_url_excludes(field: &str) -> Rule {
    Rule::new(format!("!(has(self.url) && has(self.{field}))"))
        .message(text(format!(
            "{field}: leave it out, the hop's url says it; or write scheme and nodes instead of the url"
        )))
        .reason(Reason::FieldValueForbidden)
        .field_path(format!(".{field}"))
}

pub(super) fn hop_scheme_needs_nodes() -> Rule {
    Rule::new("!has(self.scheme) || has(self.nodes)")
        .message("nodes: needed with scheme; write nodes: [{host: proxy.example, port: 1080}]")
        .reason(Reason::FieldValueRequired)
        .field_path(".nodes")
}

pub(super) fn networks() -> Rule {
    Rule::new("self.all(network, isCIDR(network))")
        .message("server.allowTargets: write networks in CIDR notation, such as 10.0.0.0/8, 10.1.2.3/32 or fd00::/8")
}

pub(super) fn port_ranges() -> Rule {
    Rule::new("self.all(range, range.matches('^[0-9]{1,5}(-[0-9]{1,5})?$'))")
        .message("server.allowBind: write ports from 1 to 65535 or ranges of them, such as \"8080\" or \"1024-65535\"")
}

/// Says nothing about what `port_ranges` already refused.
pub(super) fn port_ranges_ascend() -> Rule {
    Rule::new(
        "self.all(range, !range.matches('^[0-9]{1,5}(-[0-9]{1,5})?$') || (range.split('-').all(port, int(port) >= 1 && int(port) <= 65535) \
         && int(range.split('-')[0]) <= int(range.split('-')[range.split('-').size() - 1])))",
    )
    .message("server.allowBind: write ports from 1 to 65535, the lower end of a range first, such as \"1024-65535\"")
}

fn text(message: String) -> kube::core::Message {
    kube::core::Message::Message(message)
}
