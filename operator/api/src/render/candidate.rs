//! One object by itself, to the forward it asks for or all that is wrong with it. Nothing here looks at other objects.

use fairlead_config::{Forward, defaults, digest, duration, is_local_address, is_loopback_address};
use serde_json::json;

use super::{Place, chain, fields, key_of, link, problems::Problems, problems::Refusal, server, unverified};
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
    let read = read.map(as_a_tunnel);
    let hops = chain::Reader { object, place, problems: &mut problems }.read();
    let read = read.map(|forward| server::with_fields(Forward { chain: hops, ..forward }, object, place));
    if let Some(forward) = &read {
        check_values(forward, spec.url.is_some(), &mut problems);
        let all_hops_are_read = forward.chain.len() == spec.chain.len();
        if all_hops_are_read {
            chain::check(forward, spec.url.is_some(), place, &mut problems);
        }
        server::check(forward, object, place, &mut problems);
    }
    let refusal = problems.refusal();
    match (read, refusal) {
        (Some(forward), None) => {
            let narrowed = server::narrowed(&forward, place);
            let forward = finish(forward, object, place, narrowed.is_some());
            warnings.extend(narrowed.or_else(|| unreachable_listener(&forward, place)));
            if place.is_in_a_cluster() {
                warnings.extend(unverified::hops(&forward));
            }
            Ok(Candidate { forward, warnings, suspended: spec.suspend.unwrap_or_default() })
        }
        (_, Some(refusal)) => Err(refusal),
        (None, None) => Err(Refusal {
            reason: AcceptedReason::InvalidSpec,
            message: "spec: write exactly one of url and scheme".to_owned(),
        }),
    }
}

/// A server of any protocol that has targets speaks none (GOST's forward tunnel): over plain TCP it is a TCP forward.
fn as_a_tunnel(mut forward: Forward) -> Forward {
    if forward.scheme == "auto" && !forward.targets.is_empty() {
        "tcp".clone_into(&mut forward.scheme);
    }
    forward
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

/// Refuses what is well written and what a proxy's plan would refuse all the same, in the words of the spelling.
fn check_values(forward: &Forward, is_url: bool, problems: &mut Problems) {
    let mut refuse = |field: &str, part: &str, message: String| {
        if is_url {
            problems.add(AcceptedReason::InvalidURL, link::FIELD, format!("{part}: {message}"));
        } else {
            problems.invalid(field, message);
        }
    };
    let host = &forward.listen.host;
    if !forward.is_remote() && !is_local_address(host) {
        let message = format!("{host:?} is a name; write an IP address of this host, localhost, or nothing");
        refuse("spec.listen.address", "listening address", message);
    }
    for (field, option, what) in unfit_for_datagrams(forward) {
        refuse(field, &format!("option \"{option}\""), format!("{what}; leave it out"));
    }
    let least = defaults::HEALTH_CHECK_INTERVAL_LEAST;
    if let Some(interval) = forward.health_check.as_ref().map(|check| check.interval).filter(|said| *said < least) {
        let (said, least) = (duration::format(interval), duration::format(least));
        let message = format!("{said} is below {least}; write a time such as 5s");
        refuse("spec.healthCheck.interval", "option \"health_check\"", message);
    }
}

/// What was said of a forward of datagrams and is for streams only: the field, the option, and why.
fn unfit_for_datagrams(forward: &Forward) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let said = [
        (
            forward.health_check.is_some(),
            ("spec.healthCheck", "health_check", "it dials, and a node of a udp forward answers only datagrams"),
        ),
        (forward.idle_timeout.is_some(), ("spec.idleTimeout", "idle_timeout", "a udp forward has ttl instead")),
        (forward.hedge_delay.is_some(), ("spec.hedgeDelay", "hedge_delay", "a udp forward waits for no answer")),
    ];
    let is_datagram = forward.is_datagram();
    said.into_iter().filter_map(move |(said, why)| (is_datagram && said).then_some(why))
}

/// Fills in what follows from the object and the place, and last the digest of all that.
fn finish(mut forward: Forward, object: &PortForward, place: Place, is_narrowed: bool) -> Forward {
    forward.key = key_of(object);
    if forward.listen.host.is_empty() && !forward.is_remote() {
        let address = if is_narrowed { server::LOOPBACK } else { place.default_address() };
        forward.listen.host = address.to_owned();
    }
    for target in forward.targets.iter_mut().filter(|target| target.host.is_empty()) {
        target.host = "localhost".to_owned();
    }
    forward.digest = digest_of(&forward);
    forward
}

/// A gateway's clients come from other pods.
fn unreachable_listener(forward: &Forward, place: Place) -> Option<String> {
    let host = &forward.listen.host;
    (place == Place::Gateway && is_loopback_address(host) && !forward.is_remote())
        .then(|| format!("a gateway that listens on loopback ({host}) can't be reached: leave listen.address out"))
}

/// A mark of the forward's content that is the same in every version and on every machine: FNV-1a of its JSON.
fn digest_of(forward: &Forward) -> String {
    // Written field by field, not by way of a map, whose order may differ between builds.
    digest(&serde_json::to_string(&Forward { digest: String::new(), ..forward.clone() }).unwrap_or_default())
}
