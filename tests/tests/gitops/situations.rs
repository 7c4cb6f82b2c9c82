//! PortForwards in every situation that an operator writes down, with the statuses that it really writes.

use fairlead_api::{
    PortForward,
    render::{Place, Verdict, key_of, render},
    status::{self, Observed},
};
use fairlead_config::{ForwardReport, ForwardState, NodeReport, NodeRole, NodeState, Report};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// One object as it goes through time.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    object: PortForward,
    verdict: Verdict,
}

impl Situation {
    /// A TCP forward to two targets.
    pub(crate) fn usual() -> Self {
        Self::of(json!({"url": "tcp://:5432/db1:5432,db2:5432"}))
    }

    pub(crate) fn of(spec: Value) -> Self {
        let metadata = json!({"name": "orders-db", "namespace": "shop", "uid": "a", "generation": 3});
        Self::of_objects(&[port_forward(&metadata, spec)])
    }

    /// The last of these, which may have lost a listener to the others.
    pub(crate) fn of_objects(objects: &[PortForward]) -> Self {
        let (_, verdict) = render(objects, Place::Gateway).verdicts.pop().expect("a verdict");
        Self { object: objects.last().expect("an object").clone(), verdict }
    }

    /// The operator writes what it finds: proxies that are wanted, and what those that are ready say.
    pub(crate) fn seen(self, desired: u32, proxies: &[Proxy]) -> Self {
        let reports: Vec<Report> = proxies.iter().map(|proxy| self.report(proxy)).collect();
        let reports: Vec<&Report> = reports.iter().collect();
        let ready = u32::try_from(reports.len()).expect("a few");
        self.observed(&Observed { desired, ready, reports: &reports, ..Observed::default() })
    }

    /// The same with everything that it can find.
    pub(crate) fn observed(mut self, observed: &Observed<'_>) -> Self {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        self.object.status = Some(status::status(&self.object, &self.verdict, observed, now));
        self
    }

    /// Its author changes it.
    pub(crate) fn changed(mut self) -> Self {
        self.object.metadata.generation = Some(4);
        self
    }

    /// Its author deletes it, and something else's finalizer keeps it.
    pub(crate) fn deleted(self) -> Value {
        let mut object = self.object();
        object["metadata"]["deletionTimestamp"] = json!("2026-11-01T12:00:00Z");
        object
    }

    /// The object as an API server has it.
    pub(crate) fn object(&self) -> Value {
        serde_json::to_value(&self.object).expect("JSON")
    }

    fn report(&self, proxy: &Proxy) -> Report {
        let digest = match &self.verdict {
            Verdict::Accepted { digest, .. } => digest.clone(),
            Verdict::Suspended { .. } | Verdict::Refused { .. } => String::new(),
        };
        let nodes = ["db1:5432", "db2:5432"].iter().zip(proxy.nodes).map(|(address, state)| node(address, state));
        let forward = ForwardReport {
            key: key_of(&self.object),
            digest,
            state: proxy.state,
            listening: None,
            bound: None,
            reason: proxy.reason.map(str::to_owned),
            message: proxy.reason.map(|reason| format!("because of {reason}")),
            nodes: nodes.collect(),
        };
        Report { version: 1, revision: 1, forwards: vec![forward] }
    }
}

/// What one proxy says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proxy {
    state: ForwardState,
    reason: Option<&'static str>,
    nodes: [NodeState; 2],
}

impl Proxy {
    /// It listens, and found the two targets like this.
    pub(crate) fn listening(nodes: [NodeState; 2]) -> Self {
        Self { state: ForwardState::Listening, reason: None, nodes }
    }

    /// It does not listen yet.
    pub(crate) fn starting() -> Self {
        Self { state: ForwardState::Unknown, reason: None, nodes: [NodeState::Unknown; 2] }
    }

    /// It can't listen, for this reason.
    pub(crate) fn failing(reason: &'static str) -> Self {
        Self { state: ForwardState::Failed, reason: Some(reason), nodes: [NodeState::Unknown; 2] }
    }
}

pub(crate) fn port_forward(metadata: &Value, spec: Value) -> PortForward {
    let object =
        json!({"apiVersion": "fairlead.dev/v1alpha1", "kind": "PortForward", "metadata": metadata, "spec": spec});
    serde_json::from_value(object).expect("a PortForward")
}

fn node(address: &str, state: NodeState) -> NodeReport {
    let dead = state == NodeState::Dead;
    NodeReport {
        address: address.to_owned(),
        role: NodeRole::Target,
        hop: None,
        state,
        fails: u32::from(dead),
        last_error: dead.then(|| "connection refused".to_owned()),
        since: 0,
    }
}
