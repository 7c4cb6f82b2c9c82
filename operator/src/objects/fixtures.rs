//! PortForwards and what `render` says of them, for the tests of this folder and of `inject`.
#![allow(clippy::unwrap_used)]

use fairlead_api::{Effective, PortForward, render::Verdict};
use fairlead_config::yaml;

use super::{Gateway, GatewayObjects, Member, references};
use crate::{names::ProxyId, settings::Settings};

pub(crate) const IMAGE: &str = "registry.example/fairlead:1.2.3";
pub(crate) const CONFIG: &str = "version: 1\nrevision: 7\nforwards: []\n";
pub(crate) const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// Everything a PortForward may name.
pub(crate) const NAMING: &str = "
chain:
- url: socks5+tls://a:1
  credentials: {secretRef: {name: bastion}}
  tls: {ca: {configMapRef: {name: roots}}, certificate: {secretRef: {name: client.tls}}}
- url: forward+ssh://b:22
  credentials: {secretRef: {name: key}}
  ssh: {knownHosts: {configMapRef: {name: known-hosts, key: hosts}}}
- url: http://c:80
  credentials: {secretRef: {name: bastion}}
tls: {certificate: {secretRef: {name: shop-tls}}}
server: {users: {secretRef: {name: logins}}, hostKey: {secretRef: {name: hostkey}}}
";

/// A PortForward in the namespace `shop` whose uid comes from its name.
pub(crate) fn forward(name: &str, spec: &str) -> PortForward {
    let mut object = PortForward::new(name, yaml::from_str(spec).unwrap());
    object.metadata.namespace = Some("shop".to_owned());
    let mark: u32 = name.bytes().map(u32::from).sum();
    object.metadata.uid = Some(format!("00000000-0000-4000-8000-00000000{mark:04}"));
    object
}

pub(crate) fn accepted(scheme: &str, listen: &str) -> Verdict {
    let (effective, nodes, warnings) = (effective(scheme, listen), Vec::new(), Vec::new());
    Verdict::Accepted { digest: "d".to_owned(), effective, nodes, warnings }
}

pub(crate) fn suspended(scheme: &str, listen: &str) -> Verdict {
    Verdict::Suspended { effective: effective(scheme, listen), nodes: Vec::new(), warnings: Vec::new() }
}

fn effective(scheme: &str, listen: &str) -> Effective {
    Effective { scheme: Some(scheme.to_owned()), listen: Some(listen.to_owned()), ..Effective::default() }
}

pub(crate) fn settings(text: &str) -> Settings {
    Settings::parse(&format!("image: {IMAGE}\n{text}")).unwrap()
}

/// The proxy of the first object, with all of them in it.
pub(crate) fn with_gateway<T>(
    objects: &[(PortForward, Verdict)],
    settings: &Settings,
    make: impl FnOnce(&Gateway<'_>) -> T,
) -> T {
    let members: Vec<Member<'_>> = objects.iter().map(|(object, verdict)| Member { object, verdict }).collect();
    let id = ProxyId::of(&objects[0].0);
    let references = &references(&members);
    make(&Gateway { id: &id, members: &members, references, config: CONFIG, ca: CA, settings })
}

pub(crate) fn made(objects: &[(PortForward, Verdict)], settings: &Settings) -> GatewayObjects {
    with_gateway(objects, settings, super::gateway)
}

/// A gateway of its own for a database, with something more in its spec.
pub(crate) fn database(more: &str) -> (PortForward, Verdict) {
    (forward("db", &format!("url: tcp://:5432/db1:5432\n{more}")), accepted("tcp", ":5432"))
}
