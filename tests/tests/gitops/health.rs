//! What kstatus and Argo CD say of a PortForward in each situation and for each combination of conditions.

use fairlead_api::status::Observed;
use fairlead_config::NodeState::{Alive, Dead, Unknown};
use fairlead_tests::verdicts::{Judgement, argo_cd, kstatus};
use serde_json::{Value, json};

use super::situations::{Proxy, Situation, port_forward};

/// What it is, the object, and what kstatus, then Argo CD makes of it, with a piece of Argo CD's message.
type Row = (&'static str, Value, &'static str, &'static str, &'static str);

fn rows() -> Vec<Row> {
    let usual = Situation::usual;
    let all_well = || usual().seen(1, &[Proxy::listening([Alive; 2])]);
    let sidecar = json!({"url": "tcp://:5432/db1:5432", "sidecar": {"name": "shop"}});
    let suspended = json!({"url": "tcp://:5432/db1:5432,db2:5432", "suspend": true});
    let failing = |reason| usual().seen(1, &[Proxy::failing(reason)]).object();
    let is_well = |what, situation: Situation, message| (what, situation.object(), "Current", "Healthy", message);
    let at_work = |what, object: Value, message| (what, object, "InProgress", "Progressing", message);
    let for_its_author = |what, object: Value, message| (what, object, "Failed", "Degraded", message);
    vec![
        // kstatus believes anything without conditions to be current; hence all conditions in the very first write.
        ("not seen by an operator", usual().object(), "Current", "Progressing", "not seen it yet"),
        at_work("without a proxy", usual().seen(1, &[]).object(), "no proxy is ready"),
        at_work("without a proxy that answers", unreachable(), "connection timed out"),
        at_work("without room for a proxy", without_room(), "exceeded quota"),
        at_work("in one of two proxies", half_programmed().object(), "1 of 2"),
        is_well(
            "in its proxy, nobody dialled",
            usual().seen(1, &[Proxy::listening([Unknown; 2])]),
            "listening on :5432",
        ),
        is_well("in its proxy, all alive", all_well(), "listening on :5432"),
        is_well("with a dead target", usual().seen(1, &[Proxy::listening([Alive, Dead])]), "dead: db2:5432"),
        is_well("with dead targets only", usual().seen(1, &[Proxy::listening([Dead; 2])]), "all 2 targets are dead"),
        is_well(
            "during a rollout",
            all_well().seen(2, &[Proxy::starting(), Proxy::listening([Alive; 2])]),
            "listening",
        ),
        at_work("with its last proxy gone", all_well().seen(1, &[]).object(), "no proxy is ready"),
        at_work("with a changed spec", all_well().changed().object(), "not seen this change yet"),
        is_well("suspended", Situation::of(suspended).seen(0, &[]), "suspended"),
        is_well("a sidecar without pods", Situation::of(sidecar).seen(0, &[]), "no pod is labelled"),
        at_work("with its port in use", failing("ListenFailed"), "because of ListenFailed"),
        for_its_author("without its Secret", failing("CredentialsMissing"), "because of CredentialsMissing"),
        for_its_author("in pods to be restarted", failing("PodRestartRequired"), "because of PodRestartRequired"),
        for_its_author("in a proxy that is too old", failing("ProxyTooOld"), "because of ProxyTooOld"),
        for_its_author("invalid", refused(json!({"url": "tcp://:5432"})), "target"),
        for_its_author("with a scheme unknown here", refused(json!({"url": "warp://:5432/db1:5432"})), "warp"),
        for_its_author("with another's listener", conflict().object(), "5432"),
        ("being deleted", all_well().deleted(), "Terminating", "Progressing", "being deleted"),
    ]
}

fn unreachable() -> Value {
    let observed = Observed { desired: 1, ready: 1, unreachable: Some("connection timed out"), ..Observed::default() };
    Situation::usual().observed(&observed).object()
}

fn without_room() -> Value {
    let observed = Observed { desired: 1, missing: Some("exceeded quota: pods=0"), ..Observed::default() };
    Situation::usual().observed(&observed).object()
}

fn half_programmed() -> Situation {
    Situation::usual().seen(2, &[Proxy::listening([Alive; 2]), Proxy::starting()])
}

fn refused(spec: Value) -> Value {
    Situation::of(spec).seen(0, &[]).object()
}

fn conflict() -> Situation {
    let object = |name: &str, created: &str| {
        let metadata =
            json!({"name": name, "namespace": "shop", "uid": name, "generation": 3, "creationTimestamp": created});
        port_forward(&metadata, json!({"url": "tcp://:5432/db1:5432", "gateway": {"name": "edge"}}))
    };
    let objects = [object("a", "2026-01-01T00:00:00Z"), object("b", "2026-02-01T00:00:00Z")];
    Situation::of_objects(&objects).seen(0, &[])
}

#[test]
fn every_situation_is_judged_as_documented() {
    let rows = rows();
    let objects: Vec<Value> = rows.iter().map(|row| row.1.clone()).collect();
    if let Some(judgements) = kstatus(&objects) {
        for ((what, object, wanted, ..), said) in rows.iter().zip(judgements) {
            assert_eq!(said.verdict, *wanted, "{what}: kstatus says {}\n{object:#}", said.message);
        }
    }
    if let Some(judgements) = argo_cd(&objects) {
        for ((what, object, _, wanted, message), said) in rows.iter().zip(judgements) {
            assert_eq!(said.verdict, *wanted, "{what}: Argo CD says {}\n{object:#}", said.message);
            assert!(said.message.contains(message), "{what}: {said:?}");
        }
    }
}

/// An object with these conditions, and how old the generation is that they are about; none: the field is absent.
fn synthetic(ready: &str, reconciling: &str, stalled: &str, age: Option<i64>) -> Value {
    let named = [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)];
    let present = named.into_iter().filter(|(_, status)| !status.is_empty());
    let condition = |(kind, status)| json!({"type": kind, "status": status, "reason": "Because", "message": kind});
    let mut object = json!({
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "PortForward",
        "metadata": {"name": "a", "namespace": "shop", "generation": 7},
        "status": {"conditions": present.map(condition).collect::<Vec<_>>()},
    });
    if let Some(age) = age {
        object["status"]["observedGeneration"] = json!(7 - age);
    }
    object
}

fn combinations() -> Vec<Value> {
    let mut all = Vec::new();
    for ready in ["", "True", "False", "Unknown"] {
        for reconciling in ["", "True", "False", "Unknown"] {
            for stalled in ["", "True", "False", "Unknown"] {
                all.extend([None, Some(0), Some(1)].map(|age| synthetic(ready, reconciling, stalled, age)));
            }
        }
    }
    all
}

#[test]
fn argo_cd_agrees_with_kstatus_on_every_combination_of_conditions() {
    let objects = combinations();
    let (Some(kstatus), Some(argo_cd)) = (kstatus(&objects), argo_cd(&objects)) else { return };
    let mut agreed = 0;
    for ((object, kstatus), argo_cd) in objects.iter().zip(kstatus).zip(argo_cd) {
        let Judgement { verdict, message } = argo_cd;
        let status = &object["status"];
        let conditions = status["conditions"].as_array().expect("conditions");
        let seen = status["observedGeneration"].is_i64() && conditions.iter().any(|c| c["type"] == "Ready");
        let same = match kstatus.verdict.as_str() {
            "Current" => "Healthy",
            "InProgress" => "Progressing",
            "Failed" => "Degraded",
            other => panic!("kstatus says {other}"),
        };
        agreed += usize::from(seen);
        // What no operator has seen is not healthy, though kstatus has no way to tell.
        let wanted = if seen { same } else { "Progressing" };
        assert_eq!(verdict, wanted, "{message}; kstatus: {kstatus:?}\n{object:#}");
    }
    assert_eq!(agreed, 3 * 4 * 4 * 2);
}
