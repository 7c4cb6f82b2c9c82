//! Several objects in one proxy: who gets a name, a listener and a place when not all can. The older object wins, then
//! namespace and name, so that nobody who has something loses it to a newcomer.

use fairlead_config::{Forward, ForwardKey, defaults, yaml};

use super::{Place, candidate::Candidate, key_of, problems::Refusal};
use crate::{PortForward, render::AcceptedReason};

/// Refuses what must give way to something older, or to the proxy's own ports.
pub(super) fn settle(
    objects: &[PortForward],
    candidates: Vec<Result<Candidate, Refusal>>,
    (place, reserved): (Place, &[u16]),
) -> Vec<Result<Candidate, Refusal>> {
    let mut settled = candidates;
    let mut proxy = Proxy { place, reserved, names: Vec::new(), forwards: Vec::new(), bytes: 0 };
    for index in by_age(objects) {
        let outcome = proxy.admit(key_of(&objects[index]), settled[index].as_ref().ok());
        if let (Err(refusal), Ok(_)) = (outcome, &settled[index]) {
            settled[index] = Err(refusal);
        }
    }
    settled
}

/// Indices of the objects, the oldest first. What no API server has dated is young.
fn by_age(objects: &[PortForward]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_cached_key(|index| {
        let created = objects[*index].metadata.creation_timestamp.clone();
        (created.is_none(), created, key_of(&objects[*index]))
    });
    order
}

/// What one proxy runs so far.
struct Proxy<'a> {
    place: Place,
    reserved: &'a [u16],
    names: Vec<(String, String)>,
    forwards: Vec<Forward>,
    /// Size of the forwards in the ConfigMap, where there is one.
    bytes: usize,
}

impl Proxy<'_> {
    fn admit(&mut self, key: ForwardKey, candidate: Option<&Candidate>) -> Result<(), Refusal> {
        let name = (key.namespace.clone(), key.name.clone());
        if self.names.contains(&name) {
            let message = format!("metadata.name: {key} is the name of another object here; rename one of the two");
            return Err(Refusal { reason: AcceptedReason::NameTaken, message });
        }
        self.names.push(name);
        match candidate {
            Some(candidate) if !candidate.suspended => self.take(&candidate.forward),
            Some(_) | None => Ok(()),
        }
    }

    fn take(&mut self, forward: &Forward) -> Result<(), Refusal> {
        self.check_listener(forward)?;
        // Only a ConfigMap has a size to outgrow; elsewhere nobody need write YAML.
        let in_yaml = || yaml::to_string(&[forward]).map_or(0, |text| text.len());
        let bytes = if self.place.is_in_a_cluster() { in_yaml() } else { 0 };
        self.check_size(bytes)?;
        self.bytes += bytes;
        self.forwards.push(forward.clone());
        Ok(())
    }

    fn check_listener(&self, forward: &Forward) -> Result<(), Refusal> {
        let conflict = |message| Err(Refusal { reason: AcceptedReason::PortConflict, message });
        let listen = &forward.listen;
        let is_here = !forward.is_remote() && self.place.is_in_a_cluster();
        if is_here && self.reserved.contains(&listen.port) {
            return conflict(format!("port {} is the proxy's own; choose another listen port", listen.port));
        }
        match self.forwards.iter().find(|other| other.excludes(forward)) {
            Some(other) => {
                conflict(format!("{listen} is taken by {}, which comes first; choose another listen port", other.key))
            }
            None => Ok(()),
        }
    }

    fn check_size(&self, bytes: usize) -> Result<(), Refusal> {
        /// What stands before the first forward.
        const HEAD: usize = 64;
        let full = |message| Err(Refusal { reason: AcceptedReason::GatewayFull, message });
        if self.forwards.len() >= defaults::FORWARDS_LIMIT {
            return full(format!(
                "this proxy runs {} forwards, the most it can; choose another one",
                self.forwards.len()
            ));
        }
        if HEAD + self.bytes + bytes > defaults::CONFIG_BYTES_LIMIT {
            let limit = defaults::CONFIG_BYTES_LIMIT / 1024;
            return full(format!("this proxy's configuration would outgrow {limit} KiB; choose another one"));
        }
        Ok(())
    }
}
