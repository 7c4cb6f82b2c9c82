//! A forward said in fields, to what the proxy runs. The schema has judged the shape; here the values are understood.

use std::time::Duration;

use fairlead_config::{Forward, ForwardKey, HealthCheck, HostPort, Scheme, SchemeError, check_host, duration};

use super::{Place, key_of, link, problems::Problems};
use crate::{PortForward, PortForwardSpec, ServiceTarget, Target, render::AcceptedReason};

/// Reads one object's fields.
pub(super) struct Reader<'a> {
    pub(super) object: &'a PortForward,
    pub(super) place: Place,
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Reads all of them, so that all problems are found; key and digest are still empty.
    pub(super) fn read(mut self, scheme: &str) -> Option<Forward> {
        let spec = &self.object.spec;
        let scheme = self.scheme(scheme);
        let listen = self.listen(spec);
        let targets =
            spec.targets.iter().enumerate().filter_map(|(index, target)| self.target(index, target)).collect();
        Some(Forward {
            key: ForwardKey::local("", ""),
            digest: String::new(),
            targets,
            strategy: spec.strategy,
            max_fails: spec.max_fails,
            fail_timeout: self.positive("spec.failTimeout", spec.fail_timeout.as_deref()),
            ttl: self.positive("spec.ttl", spec.ttl.as_deref()),
            dial_timeout: self.positive("spec.dialTimeout", spec.dial_timeout.as_deref()),
            hedge_delay: self.duration("spec.hedgeDelay", spec.hedge_delay.as_deref()),
            idle_timeout: self.duration("spec.idleTimeout", spec.idle_timeout.as_deref()),
            max_connections: spec.max_connections,
            health_check: self.health_check(spec),
            chain: Vec::new(),
            server: None,
            tls: None,
            scheme: scheme?,
            listen: listen?,
        })
    }

    fn scheme(&mut self, text: &str) -> Option<String> {
        const FIELD: &str = "spec.scheme";
        match text.parse::<Scheme>() {
            Ok(scheme) => link::supported(FIELD, scheme, self.problems),
            Err(error @ (SchemeError::Empty | SchemeError::TooManyParts(_))) => {
                self.problems.invalid(FIELD, error);
                None
            }
            Err(error) => {
                self.problems.add(AcceptedReason::UnsupportedValue, FIELD, error);
                None
            }
        }
    }

    fn listen(&mut self, spec: &PortForwardSpec) -> Option<HostPort> {
        let listen = spec.listen.as_ref()?;
        let host = listen.address.clone().unwrap_or_default();
        if let Err(error) = check_host(&host) {
            self.problems.invalid("spec.listen.address", error);
        }
        Some(HostPort::new(host, listen.port))
    }

    fn target(&mut self, index: usize, target: &Target) -> Option<HostPort> {
        if let Some(service) = &target.service {
            return self.service(index, service);
        }
        let host = target.host.clone()?;
        if let Err(error) = check_host(&host) {
            self.problems.invalid(&format!("spec.targets[{index}].host"), error);
        }
        Some(HostPort::new(host, target.port?))
    }

    fn service(&mut self, index: usize, service: &ServiceTarget) -> Option<HostPort> {
        if self.place.is_in_a_cluster() {
            let namespace = key_of(self.object).namespace;
            return Some(HostPort::new(format!("{}.{namespace}.svc", service.name), service.port));
        }
        let message = format!(
            "a Service needs a cluster, and this runs outside of one; write an address it can be reached at, \
             as in {{host: {}.example, port: {}}}",
            service.name, service.port
        );
        self.problems.invalid(&format!("spec.targets[{index}].service"), message);
        None
    }

    fn health_check(&mut self, spec: &PortForwardSpec) -> Option<HealthCheck> {
        let check = spec.health_check.as_ref()?;
        let interval = self.positive("spec.healthCheck.interval", Some(&check.interval));
        let timeout = self.positive("spec.healthCheck.timeout", check.timeout.as_deref());
        Some(HealthCheck { interval: interval?, timeout })
    }

    fn duration(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        match duration::parse(text?) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.problems.invalid(field, error);
                None
            }
        }
    }

    fn positive(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        let duration = self.duration(field, text)?;
        if duration.is_zero() {
            self.problems
                .invalid(field, "0s is no time to wait; write 30s, 500ms or 1m30s, or leave it out for the default");
            return None;
        }
        Some(duration)
    }
}
