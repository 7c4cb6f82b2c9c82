//! `Plan`: a configuration with everything resolved, nothing left unsaid. From `Config` by a pure function;
//! the engine runs the difference of two plans. A forward that can't be planned is refused alone.

mod hop;
mod keep;
mod recipe;
mod server;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fairlead_config::{
    Forward, ForwardKey, HostPort, ReadConfig, Refused, RefusedReason, defaults, is_local_address, listeners_overlap,
};

use crate::selector::Rules;

pub(crate) use hop::{HopPlan, HopProtocol, HopSettings};
pub(crate) use recipe::{FarListener, Recipe, ServerProtocol};
pub(crate) use server::ServerPlan;

/// Everything one proxy runs, and what it refused.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub revision: u64,
    pub(crate) forwards: BTreeMap<ForwardKey, Planned>,
    pub(crate) refused: Vec<Refused>,
}

/// One forward's plan with the mark of its rendering, which is no part of any comparison.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) digest: String,
    pub(crate) plan: ForwardPlan,
}

/// One forward, fully resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardPlan {
    pub(crate) recipe: Recipe,
    pub(crate) listen: HostPort,
    pub(crate) targets: Vec<HostPort>,
    /// What targets are dialled through, the first hop first.
    pub(crate) chain: Vec<HopPlan>,
    pub(crate) rules: Rules,
    pub(crate) dial_timeout: Duration,
    /// None: connections may idle for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// For UDP: associations.
    pub(crate) max_connections: usize,
    pub(crate) health_check: Option<HealthCheckPlan>,
    /// Of a server: whom it serves, and with what.
    pub(crate) server: Option<Arc<ServerPlan>>,
}

/// When nodes are dialled without a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HealthCheckPlan {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// What separates two plans, by forward.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Gone, or listening elsewhere from now on: their connections drain.
    pub(crate) stop: Vec<ForwardKey>,
    pub(crate) start: Vec<ForwardKey>,
    /// The listener and all connections stay; new connections go by the new plan.
    pub(crate) update: Vec<ForwardKey>,
}

impl Plan {
    /// Resolves a configuration.
    pub fn new(config: ReadConfig) -> Self {
        let mut plan = Self { revision: config.revision, refused: config.refused, ..Self::default() };
        for forward in config.forwards {
            let (key, digest) = (forward.key.clone(), forward.digest.clone());
            match plan.resolve(forward) {
                Ok(resolved) => drop(plan.forwards.insert(key, Planned { digest, plan: resolved })),
                Err((reason, message)) => plan.refused.push(Refused { key, digest, reason, message }),
            }
        }
        plan
    }

    /// The forwards that were refused, with their reasons.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    fn resolve(&self, forward: Forward) -> Result<ForwardPlan, (RefusedReason, String)> {
        let key = &forward.key;
        let Some(recipe) = Recipe::of(&forward) else {
            let message = format!(
                "forward {key}: this proxy can't run scheme {:?}; restart it with a newer image",
                forward.scheme
            );
            return Err((RefusedReason::ProxyTooOld, message));
        };
        if self.forwards.contains_key(key) {
            return Err((RefusedReason::InvalidSpec, format!("forward {key} is in the configuration twice; keep one")));
        }
        if self.forwards.len() >= defaults::FORWARDS_LIMIT {
            let message =
                format!("forward {key}: a proxy runs at most {} forwards; put it on another", defaults::FORWARDS_LIMIT);
            return Err((RefusedReason::InvalidSpec, message));
        }
        let is_taken = |(_, planned): &(_, &Planned)| planned.plan.excludes(recipe, &forward.listen);
        if let Some((other, _)) = self.forwards.iter().find(is_taken) {
            let message =
                format!("forward {key}: {} is taken by forward {other}; choose another listen port", forward.listen);
            return Err((RefusedReason::PortConflict, message));
        }
        let (chain, wrong) = hop::chain(&forward)
            .map_err(|message| (RefusedReason::ProxyTooOld, format!("forward {key}: {message}")))?;
        let problems =
            [problems(&forward, recipe), recipe.problems(&forward), server::problems(&forward, recipe), wrong];
        let problems = problems.concat();
        if !problems.is_empty() {
            return Err((RefusedReason::InvalidSpec, format!("forward {key}: {}", problems.join("; "))));
        }
        Ok(with_defaults(forward, recipe, chain))
    }
}

impl ForwardPlan {
    /// Whether a listener of this plan can go on with the other one.
    fn listens_as(&self, other: &Self) -> bool {
        let is_same_place = !self.recipe.is_remote() || self.chain == other.chain;
        self.listen == other.listen && self.recipe.goes_on_as(other.recipe) && is_same_place
    }

    /// Whether a forward of this recipe can't listen there while this one listens.
    pub(crate) fn excludes(&self, recipe: Recipe, listen: &HostPort) -> bool {
        // Of a far end's ports the far end knows.
        let both_are_here = !self.recipe.is_remote() && !recipe.is_remote();
        both_are_here && self.recipe.is_datagram() == recipe.is_datagram() && listeners_overlap(&self.listen, listen)
    }
}

/// Compares what runs with what shall run.
pub(crate) fn difference(old: &BTreeMap<ForwardKey, Planned>, new: &BTreeMap<ForwardKey, Planned>) -> Difference {
    let mut difference = Difference::default();
    for (key, running) in old {
        match new.get(key) {
            Some(planned) if planned.plan == running.plan => {}
            Some(planned) if planned.plan.listens_as(&running.plan) => difference.update.push(key.clone()),
            Some(_) => {
                difference.stop.push(key.clone());
                difference.start.push(key.clone());
            }
            None => difference.stop.push(key.clone()),
        }
    }
    difference.start.extend(new.keys().filter(|key| !old.contains_key(key)).cloned());
    difference
}

fn with_defaults(forward: Forward, recipe: Recipe, chain: Vec<HopPlan>) -> ForwardPlan {
    ForwardPlan {
        server: recipe.is_server().then(|| Arc::new(ServerPlan::new(&forward))),
        recipe,
        listen: forward.listen,
        targets: forward.targets,
        chain,
        rules: Rules {
            strategy: forward.strategy.unwrap_or_default(),
            max_fails: forward.max_fails.unwrap_or(defaults::MAX_FAILS),
            fail_timeout: forward.fail_timeout.unwrap_or(defaults::FAIL_TIMEOUT),
            hedge_delay: forward.hedge_delay.unwrap_or(defaults::HEDGE_DELAY),
        },
        dial_timeout: forward.dial_timeout.unwrap_or(defaults::DIAL_TIMEOUT),
        idle_timeout: forward.idle_timeout.filter(|timeout| !timeout.is_zero()),
        max_connections: forward.max_connections.unwrap_or(recipe.max_connections()) as usize,
        health_check: forward.health_check.map(|check| HealthCheckPlan {
            interval: check.interval,
            timeout: check.timeout.unwrap_or(defaults::HEALTH_CHECK_TIMEOUT),
        }),
    }
}

/// A check on what render has checked before: the document may have been written by anybody.
fn problems(forward: &Forward, recipe: Recipe) -> Vec<String> {
    let targets = forward.targets.len();
    let max_connections = forward.max_connections.unwrap_or(recipe.max_connections());
    let checks = [
        (forward.listen.port == 0 && !recipe.is_remote(), "listen.port is 0; write 1 to 65535".to_owned()),
        (
            !recipe.is_remote() && !is_local_address(&forward.listen.host),
            format!(
                "listen.host {:?} is a name; write an IP address of this host, localhost, or nothing",
                forward.listen.host
            ),
        ),
        (
            targets == 0 && forward.chain.is_empty() && !recipe.is_server(),
            "targets is empty; name at least one host:port".to_owned(),
        ),
        (
            targets > defaults::TARGETS_LIMIT,
            format!("targets has {targets} entries; at most {} are served", defaults::TARGETS_LIMIT),
        ),
        (forward.targets.iter().any(|target| target.port == 0), "a target has port 0; write 1 to 65535".to_owned()),
        (
            forward.max_fails.is_some_and(|fails| fails > defaults::MAX_FAILS_LIMIT),
            format!("maxFails is above {}", defaults::MAX_FAILS_LIMIT),
        ),
        (
            max_connections == 0 || max_connections > defaults::MAX_CONNECTIONS_LIMIT,
            format!("maxConnections is {max_connections}; write 1 to {}", defaults::MAX_CONNECTIONS_LIMIT),
        ),
        (
            forward.dial_timeout.is_some_and(|timeout| timeout.is_zero()),
            "dialTimeout is 0s; write a time such as 5s".to_owned(),
        ),
        (
            forward.health_check.as_ref().is_some_and(|check| check.interval < defaults::HEALTH_CHECK_INTERVAL_LEAST),
            "healthCheck.interval is below 100ms; write a time such as 5s".to_owned(),
        ),
        (
            forward.health_check.as_ref().is_some_and(|check| check.timeout.is_some_and(|timeout| timeout.is_zero())),
            "healthCheck.timeout is 0s; write a time such as 1s".to_owned(),
        ),
    ];
    checks.into_iter().filter_map(|(wrong, message)| wrong.then_some(message)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::Config;

    use super::*;

    fn forward(name: &str, listen: HostPort, targets: &[u16]) -> Forward {
        let targets: Vec<_> = targets.iter().map(|port| HostPort::new("127.0.0.1", *port)).collect();
        serde_json::from_value(serde_json::json!({
            "key": ForwardKey::local("ns", name), "digest": "d", "scheme": "tcp", "listen": listen, "targets": targets,
        }))
        .unwrap()
    }

    fn plan(forwards: Vec<Forward>) -> Plan {
        Plan::new(Config::new(1, forwards).into())
    }

    fn key(name: &str) -> ForwardKey {
        ForwardKey::local("ns", name)
    }

    #[test]
    fn what_was_left_out_gets_its_default() {
        let plan = plan(vec![forward("a", HostPort::new("", 1), &[2])]);
        let forward = &plan.forwards[&key("a")].plan;
        assert_eq!(forward.rules.max_fails, 1);
        assert_eq!(forward.rules.fail_timeout, Duration::from_secs(30));
        assert_eq!(forward.dial_timeout, Duration::from_secs(5));
        assert_eq!(forward.idle_timeout, None);
    }

    #[test]
    fn the_second_of_two_forwards_on_one_port_is_refused_alone() {
        let any = HostPort::new("", 80);
        for (first, second) in [(&any, &any), (&any, &HostPort::new("127.0.0.1", 80)), (&HostPort::new("::", 80), &any)]
        {
            let plan = plan(vec![forward("a", first.clone(), &[1]), forward("b", second.clone(), &[1])]);
            assert!(plan.forwards.contains_key(&key("a")));
            assert_eq!(plan.refused[0].reason, RefusedReason::PortConflict);
            assert!(plan.refused[0].message.contains("ns/a"), "{}", plan.refused[0].message);
        }
        let apart = plan(vec![
            forward("a", HostPort::new("127.0.0.1", 80), &[1]),
            forward("b", HostPort::new("127.0.0.2", 80), &[1]),
        ]);
        assert!(apart.refused.is_empty());
    }

    #[test]
    fn all_problems_of_a_forward_are_named_at_once() {
        let mut bad = forward("a", HostPort::new("", 0), &[]);
        bad.max_connections = Some(0);
        let plan = plan(vec![bad]);
        let message = &plan.refused[0].message;
        for part in ["listen.port", "targets", "maxConnections"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_scheme_of_a_newer_version_is_refused_alone() {
        let mut newer = forward("a", HostPort::new("", 1), &[1]);
        newer.scheme = "warp".to_owned();
        assert_eq!(plan(vec![newer]).refused[0].reason, RefusedReason::ProxyTooOld);
    }

    #[test]
    fn the_difference_touches_only_what_changed() {
        let listen = |port| HostPort::new("127.0.0.1", port);
        let old = plan(vec![
            forward("same", listen(1), &[1]),
            forward("retargeted", listen(2), &[1]),
            forward("moved", listen(3), &[1]),
            forward("gone", listen(4), &[1]),
        ]);
        let mut same = forward("same", listen(1), &[1]);
        same.digest = "another mark".to_owned();
        let new = plan(vec![
            same,
            forward("retargeted", listen(2), &[2]),
            forward("moved", listen(5), &[1]),
            forward("new", listen(6), &[1]),
        ]);
        let difference = difference(&old.forwards, &new.forwards);
        assert_eq!(difference.stop, [key("gone"), key("moved")]);
        assert_eq!(difference.start, [key("moved"), key("new")]);
        assert_eq!(difference.update, [key("retargeted")]);
    }
}
