//! Forwards that go on as they run although a plan says otherwise: to stop them would make a change an outage. From a
//! plan and what runs to the plan that can run here. Pure: which directories there are is asked of the caller.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fairlead_config::{ForwardKey, Refused, RefusedReason};

use super::{ForwardPlan, HopSettings, Plan, Planned, ServerPlan};

impl Plan {
    /// A forward that runs, and whose new version this proxy is too old for, goes on as it is.
    pub(crate) fn keep_what_is_not_understood(&mut self, running: &BTreeMap<ForwardKey, Planned>) {
        let too_old = self.refused.iter().filter(|refused| refused.reason == RefusedReason::ProxyTooOld);
        for refused in too_old {
            if let Some(planned) = running.get(&refused.key) {
                self.forwards.insert(refused.key.clone(), planned.clone());
            }
        }
    }

    /// The directories that new versions of forwards lack, by forward. A Secret that is mounted has its directory, also
    /// when the Secret is gone: one without was named after this proxy's start, and the proxies to come mount it. Only
    /// forwards that serve their clients now have something to lose.
    pub(crate) fn unmounted(
        &self,
        serving: &BTreeMap<ForwardKey, Planned>,
        is_there: impl Fn(&Path) -> bool,
    ) -> BTreeMap<ForwardKey, PathBuf> {
        let lost = |(key, planned): (&ForwardKey, &Planned)| {
            let present = serving.get(key).filter(|present| present.plan != planned.plan)?;
            // Whoever gets its listener has waited for it.
            let makes_way = self.forwards.iter().any(|(other, planned)| {
                let waits = || serving.contains_key(other) && unmounted(&planned.plan, &is_there).is_some();
                other != key && present.plan.excludes(planned.plan.recipe, &planned.plan.listen) && !waits()
            });
            let directory = unmounted(&planned.plan, &is_there).filter(|_| !makes_way)?;
            Some((key.clone(), directory.to_owned()))
        };
        self.forwards.iter().filter_map(lost).collect()
    }

    /// Lets these forwards go on as they are, and refuses their new versions.
    pub(crate) fn keep_what_lacks(
        &mut self,
        unmounted: &BTreeMap<ForwardKey, PathBuf>,
        serving: &BTreeMap<ForwardKey, Planned>,
    ) {
        for (key, directory) in unmounted {
            let Some(present) = serving.get(key) else { continue };
            let Some(planned) = self.forwards.insert(key.clone(), present.clone()) else { continue };
            let directory = directory.display();
            let message = format!("forward {key}: {directory} is not mounted here; it goes on as it was");
            let reason = RefusedReason::CredentialsMissing;
            self.refused.push(Refused { key: key.clone(), digest: planned.digest, reason, message });
        }
    }
}

/// A directory that is not there, of those that a pod mounts; what stands in memory needs none.
fn unmounted<'a>(plan: &'a ForwardPlan, is_there: &impl Fn(&Path) -> bool) -> Option<&'a Path> {
    let is_missing = |directory: &&Path| directory.is_absolute() && !is_there(directory);
    let of_server = plan.server.iter().flat_map(|server| of_server(server));
    let of_hops = plan.chain.iter().flat_map(|hop| of_hop(&hop.settings));
    let known_hosts = plan.chain.iter().filter_map(|hop| {
        // Any of them will do.
        let mut files = hop.settings.ssh.known_hosts.iter().filter_map(parent);
        files.clone().all(|directory| is_missing(&directory)).then(|| files.next())?
    });
    of_server.chain(of_hops).find(is_missing).or_else(|| known_hosts.into_iter().next())
}

fn of_server(server: &ServerPlan) -> impl Iterator<Item = &Path> {
    let users = server.users.iter().filter_map(|users| users.directory.as_ref()).map(Path::new);
    let certificate = server.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key]);
    users.chain(server.host_key.iter().chain(certificate).filter_map(parent))
}

fn of_hop(hop: &HopSettings) -> impl Iterator<Item = &Path> {
    let login = hop.credentials.iter().filter_map(|credentials| credentials.directory.as_ref()).map(Path::new);
    let tls = [&hop.tls.ca, &hop.tls.certificate, &hop.tls.key].into_iter().flatten();
    login.chain(tls.filter_map(parent))
}

fn parent(file: &String) -> Option<&Path> {
    Path::new(file).parent()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fairlead_config::Config;
    use serde_json::{Value, json};

    use super::{super::difference, *};

    fn plan(forwards: &[(&str, u16, Value)]) -> Plan {
        let forward = |(name, port, more): &(&str, u16, Value)| {
            let mut forward = json!({
                "key": key(name), "digest": "d", "scheme": "tcp", "listen": {"host": "127.0.0.1", "port": port},
                "targets": [{"host": "127.0.0.1", "port": 1}],
            });
            forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(forward).unwrap()
        };
        Plan::new(Config::new(1, forwards.iter().map(forward).collect()).into())
    }

    fn key(name: &str) -> ForwardKey {
        ForwardKey::local("ns", name)
    }

    fn through(hop: Value) -> Value {
        let mut whole = json!({"scheme": "socks5", "nodes": [{"host": "b", "port": 1080}]});
        whole.as_object_mut().unwrap().extend(hop.as_object().unwrap().clone());
        json!({"chain": [whole]})
    }

    /// What is kept of a forward that ran without files, where only `/s/one` and `/c/one` are there.
    fn kept(more: Value) -> Option<String> {
        let running = plan(&[("a", 1, json!({}))]);
        let plan = plan(&[("a", 1, more)]);
        assert!(plan.refused.is_empty(), "{:?}", plan.refused);
        let is_there = |path: &Path| path.ends_with("one");
        plan.unmounted(&running.forwards, is_there).remove(&key("a")).map(|path| path.display().to_string())
    }

    #[test]
    fn a_forward_whose_new_version_is_not_understood_goes_on_as_it_is() {
        let old = plan(&[("a", 1, json!({}))]);
        let mut new = plan(&[("a", 1, json!({"scheme": "warp"}))]);
        new.keep_what_is_not_understood(&old.forwards);
        assert_eq!(difference(&old.forwards, &new.forwards), super::super::Difference::default());
        assert_eq!(new.refused.len(), 1, "and is reported");
    }

    #[test]
    fn every_directory_that_a_pod_mounts_is_missed() {
        let ssh = |files: Value| {
            let ssh = json!({"knownHosts": files});
            through(json!({"scheme": "forward+ssh", "credentials": {"directory": "/s/one"}, "ssh": ssh}))
        };
        let server = |server: Value| json!({"scheme": "forward+ssh", "targets": [], "server": server});
        for (more, missing) in [
            (json!({}), None),
            (through(json!({"credentials": {"directory": "/s/one"}})), None),
            (through(json!({"credentials": {"directory": "/s/two"}})), Some("/s/two")),
            (through(json!({"credentials": {"directory": "memory:/secrets/two"}})), None),
            (through(json!({"tls": {"ca": "/c/two/ca.crt"}})), Some("/c/two")),
            (through(json!({"tls": {"certificate": "/s/two/tls.crt", "key": "/s/two/tls.key"}})), Some("/s/two")),
            (ssh(json!(["/c/one/known_hosts"])), None),
            (ssh(json!(["/c/two/known_hosts"])), Some("/c/two")),
            (ssh(json!(["/home/me/.ssh/known_hosts", "/c/one/known_hosts"])), None),
            (server(json!({"users": {"directory": "/s/two"}})), Some("/s/two")),
            (server(json!({"anonymous": true, "hostKey": "/s/two/ssh-privatekey"})), Some("/s/two")),
        ] {
            assert_eq!(kept(more.clone()).as_deref(), missing, "{more}");
        }
    }

    #[test]
    fn what_serves_goes_on_and_its_new_version_is_refused() {
        let login = || through(json!({"credentials": {"directory": "/s/two"}}));
        let old = plan(&[("a", 1, json!({})), ("same", 2, login())]);
        let mut new = plan(&[("a", 1, login()), ("same", 2, login()), ("new", 3, login())]);
        let unmounted = new.unmounted(&old.forwards, |_| false);
        assert_eq!(unmounted, BTreeMap::from([(key("a"), PathBuf::from("/s/two"))]), "the others have nothing to lose");
        new.keep_what_lacks(&unmounted, &old.forwards);
        let refused = &new.refused[0];
        assert_eq!((&refused.key, refused.reason), (&key("a"), RefusedReason::CredentialsMissing));
        assert_eq!(refused.message, "forward ns/a: /s/two is not mounted here; it goes on as it was");
        let difference = difference(&old.forwards, &new.forwards);
        assert_eq!((difference.start, difference.stop, difference.update), (vec![key("new")], vec![], vec![]));
    }

    #[test]
    fn it_makes_way_for_whom_its_listener_was_given_to() {
        let login = through(json!({"credentials": {"directory": "/s/two"}}));
        let old = plan(&[("a", 1, json!({}))]);
        let new = plan(&[("a", 2, login), ("b", 1, json!({}))]);
        assert_eq!(new.unmounted(&old.forwards, |_| false), BTreeMap::new());
    }

    #[test]
    fn two_that_change_places_and_cannot_yet_both_go_on() {
        let login = || through(json!({"credentials": {"directory": "/s/two"}}));
        let old = plan(&[("a", 1, json!({})), ("b", 2, json!({}))]);
        let new = plan(&[("a", 2, login()), ("b", 1, login())]);
        assert_eq!(new.unmounted(&old.forwards, |_| false).into_keys().collect::<Vec<_>>(), [key("a"), key("b")]);
    }
}
