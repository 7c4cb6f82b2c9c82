//! What is new between two reports, in words for a log: listening, not listening, gone. Pure.
//! Nodes that die and come back are told by the engine itself.

use fairlead_config::{ForwardKey, ForwardReport, ForwardState, HostPort, Report};

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) forward: ForwardKey,
    /// Something that a person may have to mend.
    pub(crate) bad: bool,
    pub(crate) text: String,
}

/// Writes to the log what is new since `old`.
pub(crate) fn tell(old: &Report, new: &Report) {
    for News { forward, bad, text } in news(old, new) {
        if bad {
            tracing::warn!(%forward, "{text}");
        } else {
            tracing::info!(%forward, "{text}");
        }
    }
}

/// What a report says that the one before didn't.
pub(crate) fn news(old: &Report, new: &Report) -> Vec<News> {
    let find = |report: &Report, key: &ForwardKey| report.forwards.iter().find(|forward| forward.key == *key).cloned();
    let told = new.forwards.iter().filter_map(|now| {
        let (bad, text) = of_forward(find(old, &now.key).as_ref(), now)?;
        Some(News { forward: now.key.clone(), bad, text })
    });
    let gone = old.forwards.iter().filter(|then| find(new, &then.key).is_none()).map(|then| {
        let text = match place(then) {
            Some(address) => format!("stopped listening on {address}; its connections may still end by themselves"),
            None => "is no longer in the configuration".to_owned(),
        };
        News { forward: then.key.clone(), bad: false, text }
    });
    told.chain(gone).collect()
}

fn of_forward(then: Option<&ForwardReport>, now: &ForwardReport) -> Option<(bool, String)> {
    let message = || now.message.clone().unwrap_or_else(|| "no reason given".to_owned());
    let said = then.map(|then| (then.state, then.message.as_ref())) == Some((now.state, now.message.as_ref()));
    match (now.state, place(now)) {
        (ForwardState::Listening, Some(address)) => {
            let same_place = then.and_then(place) == Some(address);
            match (&now.message, then.and_then(|then| then.message.as_ref())) {
                _ if !same_place => Some((false, format!("listening on {address}{}", behind(now)))),
                (Some(trouble), before) if before != Some(trouble) => Some((true, trouble.clone())),
                (None, Some(_)) => Some((false, "all is well again".to_owned())),
                _ if then.is_some_and(|then| targets(then) != targets(now)) => {
                    Some((false, format!("targets are now {}", targets(now))))
                }
                _ => None,
            }
        }
        (ForwardState::Failed, _) => (!said).then(|| (true, format!("{}; trying again", message()))),
        (ForwardState::Refused, _) => (!said).then(|| (true, format!("refused: {}", message()))),
        (ForwardState::Standby, _) => (!said).then(|| (false, format!("stands by: {}", message()))),
        (ForwardState::Listening, None) | (ForwardState::Unknown, _) => None,
    }
}

/// Where clients reach it.
fn place(forward: &ForwardReport) -> Option<&HostPort> {
    forward.bound.as_ref().or(forward.listening.as_ref())
}

/// As ` → a:1, b:1`; nothing for a server, whose clients say where they go.
fn behind(forward: &ForwardReport) -> String {
    let targets = targets(forward);
    if targets.is_empty() { targets } else { format!(" → {targets}") }
}

/// As `proxy:1080 → a:1, b:1`, the hops first.
fn targets(forward: &ForwardReport) -> String {
    let groups = forward.nodes.chunk_by(|one, next| one.hop == next.hop);
    let names = groups.map(|group| group.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(", "));
    names.collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(forwards: serde_json::Value) -> Report {
        serde_json::from_value(serde_json::json!({"version": 1, "revision": 1, "forwards": forwards})).unwrap()
    }

    fn forward(state: &str, listening: Option<u16>, message: Option<&str>, targets: &[&str]) -> Report {
        let nodes: Vec<_> = targets
            .iter()
            .map(|address| serde_json::json!({"address": address, "role": "Target", "state": "Alive"}))
            .collect();
        let listening = listening.map(|port| serde_json::json!({"host": "", "port": port}));
        report(serde_json::json!([{
            "key": {"namespace": "shop", "name": "db"}, "digest": "d", "state": state,
            "listening": listening, "message": message, "nodes": nodes,
        }]))
    }

    #[test]
    fn hops_stand_before_the_targets() {
        let node = |address, role, hop: Option<u32>| serde_json::json!({"address": address, "role": role, "hop": hop, "state": "Alive"});
        let nodes = [
            node("p:1", "Hop", Some(1)),
            node("q:1", "Hop", Some(1)),
            node("r:1", "Hop", Some(2)),
            node("a:1", "Target", None),
        ];
        let key = serde_json::json!({"namespace": "ns", "name": "f"});
        let forward = serde_json::json!({"key": key, "digest": "", "state": "Listening", "nodes": nodes});
        assert_eq!(targets(&serde_json::from_value(forward).unwrap()), "p:1, q:1 → r:1 → a:1");
    }

    #[test]
    fn what_changed_is_told_once() {
        let nothing = report(serde_json::json!([]));
        let up = forward("Listening", Some(1), None, &["a:1", "b:1"]);
        let moved = forward("Listening", Some(2), None, &["a:1", "b:1"]);
        let retargeted = forward("Listening", Some(1), None, &["a:1"]);
        let troubled = forward("Listening", Some(1), Some("out of files"), &["a:1", "b:1"]);
        let failed = forward("Failed", None, Some("listen on :1: in use"), &[]);
        let refused = forward("Refused", None, Some("too old"), &[]);
        for (old, new, want) in [
            (&nothing, &up, Some((false, "listening on :1 → a:1, b:1"))),
            (&up, &up, None),
            (&up, &moved, Some((false, "listening on :2 → a:1, b:1"))),
            (&up, &retargeted, Some((false, "targets are now a:1"))),
            (&up, &troubled, Some((true, "out of files"))),
            (&troubled, &troubled, None),
            (&troubled, &up, Some((false, "all is well again"))),
            (&nothing, &failed, Some((true, "listen on :1: in use; trying again"))),
            (&failed, &failed, None),
            (&failed, &up, Some((false, "listening on :1 → a:1, b:1"))),
            (&nothing, &refused, Some((true, "refused: too old"))),
            (&up, &nothing, Some((false, "stopped listening on :1; its connections may still end by themselves"))),
            (&failed, &nothing, Some((false, "is no longer in the configuration"))),
        ] {
            let got = news(old, new).pop().map(|news| (news.bad, news.text));
            assert_eq!(got, want.map(|(bad, text)| (bad, text.to_owned())));
        }
    }
}
