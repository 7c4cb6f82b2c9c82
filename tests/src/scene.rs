//! A namespace of a test's own under the one operator that the tests of a process share, with a kubelet's stand-in: from
//! PortForwards as users apply them to clients that are served, and what the operator wrote meanwhile.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::Deref,
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use fairlead_api::PortForward;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    clients::ask,
    cluster::{CLUSTER_SOON, ControlPlane, Kubelet, Mounting, Request, TempNamespace},
    deadline::{Late, await_condition, await_some},
    operator::{Operator, USER, await_condition_of, forbidden},
    targets::Target,
};

/// The kubelet never gets round to changes: only what is pushed arrives.
pub const NEVER: Mounting = Mounting::AtStart;
/// The kubelet is quick.
pub const AT_ONCE: Mounting = Mounting::After(Duration::ZERO);
/// How long the operator has to be silent to count as idle.
const SILENCE: Duration = Duration::from_secs(2);
/// An object has so many statuses at once, and one more after each period.
const STATUSES_AT_ONCE: u32 = 4;
const STATUS_PERIOD: Duration = Duration::from_secs(10);

/// The namespace; it reads and writes as an administrator does.
pub struct Scene<'a> {
    kubelet: Kubelet,
    namespace: TempNamespace<'a>,
    rights_are_judged: bool,
}

/// The control plane that the tests of this process share, with an operator that runs until the process ends; none,
/// after saying so, where it can't run.
pub fn operated() -> Option<&'static ControlPlane> {
    static OPERATED: OnceLock<()> = OnceLock::new();
    let cluster = ControlPlane::shared()?;
    OPERATED.get_or_init(|| {
        let (started, starts) = mpsc::channel();
        // Processes end with the thread that started them: this one never ends.
        std::thread::spawn(move || {
            let _operator = Operator::start(cluster);
            let _ = started.send(());
            loop {
                std::thread::park();
            }
        });
        starts.recv().expect("an operator");
    });
    Some(cluster)
}

impl Scene<'static> {
    /// A namespace of the shared control plane.
    pub fn open(mounting: Mounting) -> Option<Self> {
        Some(Self::of(operated()?.namespace(), mounting))
    }
}

impl<'a> Scene<'a> {
    /// A namespace that is there.
    pub fn of(namespace: TempNamespace<'a>, mounting: Mounting) -> Self {
        Self { kubelet: Kubelet::start(&namespace, mounting), namespace, rights_are_judged: false }
    }

    /// What runs the pods.
    pub fn kubelet(&self) -> &Kubelet {
        &self.kubelet
    }

    /// Applies PortForwards and waits until each is ready.
    pub fn apply_ready(&self, forwards: &[&Value]) -> Vec<PortForward> {
        forwards.iter().for_each(|forward| drop(self.apply::<PortForward>(forward)));
        forwards.iter().map(|forward| self.await_ready(name_of(forward))).collect()
    }

    /// Waits until the present generation of a PortForward is ready.
    pub fn await_ready(&self, name: &str) -> PortForward {
        await_condition_of(self, name, "Ready", ("True", "Ready"))
    }

    /// Waits until the spec of a PortForward is refused for this reason.
    pub fn await_refused(&self, name: &str, reason: &str) -> PortForward {
        await_condition_of(self, name, "Accepted", ("False", reason))
    }

    /// Waits until there is one pod of this Deployment, and answers its name and where it listens.
    pub fn await_pod(&self, deployment: &str, port: u16) -> (String, SocketAddr) {
        let of_deployment = |name: &str| name.rsplitn(3, '-').nth(2) == Some(deployment);
        await_some(format!("one pod of {deployment}"), CLUSTER_SOON, || {
            let mut pods = self.kubelet.pods();
            pods.retain(|(name, _)| of_deployment(name));
            pods.pop().filter(|_| pods.is_empty()).map(|(name, ip)| (name, (ip, port).into()))
        })
    }

    /// Waits until clients are answered with this letter.
    pub fn await_letter(&self, address: SocketAddr, letter: char) {
        await_condition(format!("{letter} at {address}"), CLUSTER_SOON, || ask(address).ok() == Some(letter));
    }

    /// Every write of the operator in this namespace so far.
    pub fn writes(&self) -> Vec<Request> {
        let mut writes = self.cluster().requests_of(USER);
        writes.retain(|request| request.is_write() && request.namespace.as_deref() == Some(self.name()));
        writes
    }

    /// Says for the last time that the operator never asked for what its roles don't give it: what comes takes them away.
    pub fn judge_rights(&mut self) {
        self.rights_are_judged = true;
        assert_eq!(forbidden(self.cluster()), Vec::<String>::new());
    }

    /// Waits until the operator has written nothing here for a while, and answers how much it has written in all.
    pub fn await_idle(&self) -> usize {
        let (mut count, mut since) = (self.writes().len(), Instant::now());
        let idle = Late(|| {
            let writes = self.writes();
            let last: Vec<_> = writes[writes.len().saturating_sub(12)..].iter().map(Request::line).collect();
            format!("the operator to have nothing more to write; the last of {}:\n{}", writes.len(), last.join("\n"))
        });
        await_condition(idle, CLUSTER_SOON, || {
            let writes = self.writes();
            if writes.len() != count {
                (count, since) = (writes.len(), Instant::now());
            }
            since.elapsed() > SILENCE && Timestamp::now() > put_off_until(statuses(&writes)) + SILENCE
        });
        count
    }
}

/// Names and times of the statuses among these writes.
fn statuses(writes: &[Request]) -> impl Iterator<Item = (&str, Timestamp)> {
    let statuses = writes.iter().filter(|write| write.subresource.as_deref() == Some("status"));
    statuses.map(|write| (write.name.as_deref().unwrap_or_default(), write.received.parse().expect("a time")))
}

/// Until when the next status of an object may be put off, since that has had many. Another object of that name has as
/// many again, but nobody waits for longer than one period after the last one.
fn put_off_until<'a>(statuses: impl Iterator<Item = (&'a str, Timestamp)>) -> Timestamp {
    let mut paid = BTreeMap::new();
    for (name, written) in statuses {
        let until = paid.entry(name).or_insert(written);
        *until = (written.max(*until) + STATUS_PERIOD).min(written + STATUS_PERIOD * STATUSES_AT_ONCE);
    }
    let last = paid.into_values().max().unwrap_or(Timestamp::UNIX_EPOCH);
    last - STATUS_PERIOD * (STATUSES_AT_ONCE - 1)
}

/// Whatever a test is about, the operator never asked for what its roles don't give it.
impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.rights_are_judged {
            self.judge_rights();
        }
    }
}

impl<'a> Deref for Scene<'a> {
    type Target = TempNamespace<'a>;

    fn deref(&self) -> &TempNamespace<'a> {
        &self.namespace
    }
}

/// A PortForward from this port of `localhost`, which each pod has for itself; `more` are further fields of its spec.
pub fn forward(name: &str, port: u16, targets: &[&Target], more: Value) -> Value {
    let target = |target: &&Target| json!({"host": target.address().ip().to_string(), "port": target.address().port()});
    let targets: Vec<Value> = targets.iter().map(target).collect();
    let mut spec = json!({
        "scheme": "tcp", "listen": {"address": "localhost", "port": port}, "targets": targets,
        // A machine that is busy must not look like a target that is slow.
        "strategy": "fifo", "failTimeout": "1s", "dialTimeout": "1s", "hedgeDelay": "0s",
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let meta = json!({"name": name});
    json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": meta, "spec": spec})
}

fn name_of(forward: &Value) -> &str {
    forward["metadata"]["name"].as_str().expect("the PortForward's name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_had_many_statuses_may_have_another_one_later() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let until = |written: &[(&'static str, i64)]| {
            let until = put_off_until(written.iter().map(|(name, second)| (*name, at(*second))));
            until.as_second()
        };
        assert!(until(&[]) < 0, "never");
        assert_eq!(until(&[("a", 100), ("b", 100), ("a", 100), ("a", 100)]), 100, "one is left");
        assert_eq!(until(&[("a", 100); 4]), 110);
        assert_eq!(until(&[("a", 100); 9]), 110, "of several objects that followed each other");
        assert_eq!(until(&[("a", 100), ("a", 100), ("a", 100), ("a", 105), ("a", 111)]), 120);
        assert_eq!(until(&[("a", 100), ("a", 100), ("a", 100), ("a", 200)]), 180, "long ago is over");
    }
}
