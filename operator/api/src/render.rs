//! PortForwards to what one proxy runs, from the operator or the command line to `Config`: pure, the same answer at
//! every call, whatever order the objects come in. Each object gets a verdict of its own; a refused one spoils no other.
//! Both spellings, `url` and fields, end in the same `Forward`, and only what was said is written into it: defaults
//! belong to the plan.

mod candidate;
mod chain;
mod effective;
mod fields;
mod files;
mod link;
mod problems;
mod server;
mod settle;
mod unverified;
mod verdict;

#[cfg(test)]
mod equivalence_tests;
#[cfg(test)]
mod tests;

use fairlead_config::{Config, Forward, ForwardKey, defaults};

use crate::{PortForward, manifest::DEFAULT_NAMESPACE};
use candidate::Candidate;

pub use files::{CONFIG_MAPS_DIR, SECRETS_DIR, config_map_dir, secret_dir};
pub use verdict::{AcceptedReason, NodeName, Verdict};

/// Where the forwards will run; decides what an empty listening address means and what can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The operator's own pods: an empty address is every address.
    Gateway,
    /// Beside an application: an empty address is loopback.
    Sidecar,
    /// `fairlead run -L`: an empty address is every address, as in GOST.
    CommandLine,
    /// `fairlead run FILE`: an empty address is loopback.
    Laptop,
}

/// What became of a set of objects that share one proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendering {
    /// What the proxy runs, in the order of the keys.
    pub forwards: Vec<Forward>,
    /// One per object, in the order they came in.
    pub verdicts: Vec<(ForwardKey, Verdict)>,
}

impl Rendering {
    /// Makes the proxy's configuration document.
    pub fn config(&self, revision: u64) -> Config {
        Config::new(revision, self.forwards.clone())
    }
}

/// Renders every object that shares one proxy.
pub fn render(objects: &[PortForward], place: Place) -> Rendering {
    render_beside(objects, place, &defaults::RESERVED_PORTS)
}

/// Renders every object that shares one proxy, whose own ports are `reserved`.
pub fn render_beside(objects: &[PortForward], place: Place, reserved: &[u16]) -> Rendering {
    let candidates = objects.iter().map(|object| candidate::of(object, place)).collect();
    let settled = settle::settle(objects, candidates, (place, reserved));
    let mut forwards: Vec<Forward> = settled
        .iter()
        .filter_map(|result| result.as_ref().ok())
        .filter(|candidate| !candidate.suspended)
        .map(|candidate| candidate.forward.clone())
        .collect();
    forwards.sort_by(|a, b| a.key.cmp(&b.key));
    let verdicts = objects.iter().map(key_of).zip(settled.into_iter().map(verdict)).collect();
    Rendering { forwards, verdicts }
}

/// Names the forward an object stands for; without a namespace it is in `default`.
pub fn key_of(object: &PortForward) -> ForwardKey {
    let meta = &object.metadata;
    ForwardKey {
        namespace: meta.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

impl Place {
    /// Tells whether it runs in a pod, where everything has to be said.
    pub fn is_in_a_cluster(self) -> bool {
        match self {
            Self::Gateway | Self::Sidecar => true,
            Self::CommandLine | Self::Laptop => false,
        }
    }

    /// The address that is listened on where none was said.
    fn default_address(self) -> &'static str {
        match self {
            Self::Gateway | Self::CommandLine => "",
            Self::Sidecar | Self::Laptop => "127.0.0.1",
        }
    }
}

fn verdict(settled: Result<Candidate, problems::Refusal>) -> Verdict {
    match settled {
        Err(refusal) => Verdict::Refused { reason: refusal.reason, message: refusal.message },
        Ok(Candidate { forward, warnings, suspended }) => {
            let (effective, nodes) = (effective::effective(&forward), effective::nodes(&forward));
            if suspended {
                return Verdict::Suspended { effective, nodes, warnings };
            }
            Verdict::Accepted { digest: forward.digest, effective, nodes, warnings }
        }
    }
}
