//! One object by itself, to the forward it asks for or all that is wrong with it. Nothing here looks at other objects.

use std::net::IpAddr;

use fairlead_config::{
    Forward,
    url::{NodeUrl, Role},
};
use serde_json::json;

use super::{Place, fields, key_of, link, problems::Problems, problems::Refusal};
use crate::{PortForward, render::AcceptedReason, schema};

/// A forward that is valid by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) forward: Forward,
    pub(super) warnings: Vec<String>,
    pub(super) suspended: bool,
}

/// Reads one object.
pub(super) fn of(object: &PortForward, place: Place) -> Result<Candidate, Refusal> {
    let mut problems = Problems::default();
    // An object of the command line was made from a URL that has just been parsed: it has no shape to check, and a
    // proxy that never needs the schema and its rules stays small.
    if place != Place::CommandLine {
        check_shape(object, &mut problems);
    }
    let spec = &object.spec;
    let mut warnings = Vec::new();
    let read = match (&spec.url, &spec.scheme) {
        (Some(url), None) => link::read(url, !spec.chain.is_empty(), &mut warnings, &mut problems),
        (None, Some(scheme)) => fields::Reader { object, place, problems: &mut problems }.read(scheme),
        // The rules say so already.
        (Some(_), Some(_)) | (None, None) => None,
    };
    check_support(object, &mut problems);
    let refusal = problems.refusal();
    match (read, refusal) {
        (Some(forward), None) => {
            let forward = finish(forward, object, place);
            warnings.extend(unreachable_listener(&forward, place));
            Ok(Candidate { forward, warnings, suspended: spec.suspend.unwrap_or_default() })
        }
        (_, Some(refusal)) => Err(refusal),
        (None, None) => Err(Refusal {
            reason: AcceptedReason::InvalidSpec,
            message: "spec: write exactly one of url and scheme".to_owned(),
        }),
    }
}

/// Applies the CRD's own schema and rules: nothing says that an API server did.
fn check_shape(object: &PortForward, problems: &mut Problems) {
    let document = json!({
        "apiVersion": schema::API_VERSION,
        "kind": schema::KIND,
        "metadata": {"name": object.metadata.name},
        "spec": object.spec,
    });
    for problem in schema::check(&document) {
        problems.add(AcceptedReason::InvalidSpec, problem.field, problem.message);
    }
}

/// Refuses what is part of the API and not of this version.
fn check_support(object: &PortForward, problems: &mut Problems) {
    let spec = &object.spec;
    let hop_urls = spec.chain.iter().enumerate().filter_map(|(index, hop)| Some((index, hop.url.as_deref()?)));
    for (index, url) in hop_urls {
        if let Err(errors) = NodeUrl::parse(url, Role::Hop) {
            link::complain(&format!("spec.chain[{index}].url"), errors, problems);
        }
    }
    let not_built = [
        ("spec.chain", !spec.chain.is_empty(), "this version dials targets directly"),
        ("spec.server", spec.server.is_some(), "this version forwards and serves no proxy protocol"),
        ("spec.tls", spec.tls.is_some(), "this version listens for plain TCP"),
    ];
    for (field, _, what) in not_built.into_iter().filter(|(_, said, _)| *said) {
        let message = format!("not built yet: {what}; leave it out");
        problems.add(AcceptedReason::UnsupportedValue, field, message);
    }
}

/// Fills in what follows from the object and the place, and last the digest of all that.
fn finish(mut forward: Forward, object: &PortForward, place: Place) -> Forward {
    forward.key = key_of(object);
    if forward.listen.host.is_empty() {
        forward.listen.host = place.default_address().to_owned();
    }
    for target in forward.targets.iter_mut().filter(|target| target.host.is_empty()) {
        target.host = "localhost".to_owned();
    }
    forward.digest = digest(&forward);
    forward
}

/// A gateway's clients come from other pods.
fn unreachable_listener(forward: &Forward, place: Place) -> Option<String> {
    let host = &forward.listen.host;
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    (place == Place::Gateway && is_loopback)
        .then(|| format!("a gateway that listens on loopback ({host}) can't be reached: leave listen.address out"))
}

/// A mark of the forward's content that is the same in every version and on every machine: FNV-1a of its JSON.
fn digest(forward: &Forward) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // Written field by field, not by way of a map, whose order may differ between builds.
    let content = serde_json::to_string(&Forward { digest: String::new(), ..forward.clone() }).unwrap_or_default();
    let hash = content.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}
