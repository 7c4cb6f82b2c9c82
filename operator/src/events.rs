//! Kubernetes Events of a PortForward, from two of its statuses to `kubectl describe`: one per transition. What to tell
//! is a pure function of the statuses, so that a restarted operator tells nothing twice, and nothing can get into an
//! Event that doesn't stand in the status. Two nodes' Events stay two: `regarding.fieldPath` names the node.

mod ledger;
#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use fairlead_api::{Node, NodeRole, NodeState, PortForward, PortForwardStatus};
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, MicroTime},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::events::EventType,
};
use serde_json::json;

use crate::names::FIELD_MANAGER;
use ledger::{Entry, Ledger, Turn};

/// Bytes that an API server takes as an Event's note.
const NOTE_LIMIT: usize = 1024;
/// How long one Event may take; it is not worth more.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing to tell about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventNote {
    pub type_: EventType,
    /// What happened, as one word.
    pub reason: String,
    /// What was being done: `Render`, `Program` or `Dial`.
    pub action: &'static str,
    /// Which part of the object it is about: a condition or a node.
    pub field: String,
    /// The sentence, at most 1024 bytes.
    pub note: String,
}

/// Says what an object's users should hear of, now that its status changed.
pub fn transitions(before: Option<&PortForwardStatus>, after: &PortForwardStatus) -> Vec<EventNote> {
    let change =
        |type_| Change { before: before.and_then(|status| condition(status, type_)), after: condition(after, type_) };
    let conditions =
        [accepted(change("Accepted")), programmed(change("Programmed")), nodes_available(change("NodesAvailable"))];
    let nodes_before = before.map(|status| status.nodes.as_slice()).unwrap_or_default();
    let nodes = after.nodes.iter().enumerate().filter_map(|(index, node)| {
        let nth = after.nodes[..index].iter().filter(|earlier| is_same(earlier, node)).count();
        node_change(nodes_before.iter().filter(|earlier| is_same(earlier, node)).nth(nth), node)
    });
    conditions.into_iter().flatten().chain(nodes).collect()
}

/// A condition in both statuses.
#[derive(Clone, Copy)]
struct Change<'a> {
    before: Option<&'a Condition>,
    after: Option<&'a Condition>,
}

impl<'a> Change<'a> {
    /// The condition as it is now, if its status or its reason changed.
    fn news(&self) -> Option<&'a Condition> {
        let said = |condition: &Condition| (condition.status.clone(), condition.reason.clone());
        self.after.filter(|after| self.before.map(said) != Some(said(after)))
    }

    fn was(&self, status: &str) -> bool {
        self.before.is_some_and(|before| before.status == status)
    }
}

fn condition<'a>(status: &'a PortForwardStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

fn accepted(change: Change<'_>) -> Option<EventNote> {
    let news = change.news().filter(|news| news.status != "Unknown")?;
    Some(of_condition(news, if news.status == "True" { EventType::Normal } else { EventType::Warning }, "Render"))
}

/// Being on the way, and having no proxy yet, is no news.
fn programmed(change: Change<'_>) -> Option<EventNote> {
    let news = change.news()?;
    let is_beginning = news.reason == "Pending" || (news.reason == "NoProxies" && !change.was("True"));
    match news.status.as_str() {
        "True" => Some(of_condition(news, EventType::Normal, "Program")),
        _ if is_beginning => None,
        _ => Some(of_condition(news, EventType::Warning, "Program")),
    }
}

fn nodes_available(change: Change<'_>) -> Option<EventNote> {
    let news = change.news()?;
    match news.status.as_str() {
        "False" => Some(of_condition(news, EventType::Warning, "Dial")),
        "True" if change.was("False") => {
            let note = format!("every group has a node that is not dead: {}", news.message);
            let recovered = of_condition(news, EventType::Normal, "Dial");
            Some(EventNote { reason: "NodesAvailable".to_owned(), note: shortened(&note), ..recovered })
        }
        _ => None,
    }
}

fn of_condition(condition: &Condition, type_: EventType, action: &'static str) -> EventNote {
    EventNote {
        type_,
        reason: condition.reason.clone(),
        action,
        field: format!("status.conditions{{{}}}", condition.type_),
        note: shortened(&condition.message),
    }
}

fn is_same(a: &Node, b: &Node) -> bool {
    (a.role, a.hop, &a.address) == (b.role, b.hop, &b.address)
}

/// The first success of a node is no news, its first failure is.
fn node_change(before: Option<&Node>, after: &Node) -> Option<EventNote> {
    let was = before.map_or(NodeState::Unknown, |node| node.state);
    if was == after.state {
        return None;
    }
    let was_dead = match was {
        NodeState::Dead | NodeState::Degraded => true,
        NodeState::Alive | NodeState::Unknown => false,
    };
    let (type_, reason, said) = match after.state {
        NodeState::Dead => (EventType::Warning, "NodeDead", "is dead"),
        NodeState::Degraded => (EventType::Warning, "NodeDegraded", "is dead for some proxies"),
        NodeState::Alive if was_dead => (EventType::Normal, "NodeAlive", "is alive again"),
        NodeState::Alive | NodeState::Unknown => return None,
    };
    let name = match (after.role, after.hop) {
        (NodeRole::Target, _) | (NodeRole::Hop, None) => format!("target {}", after.address),
        (NodeRole::Hop, Some(hop)) => format!("node {} of hop {hop}", after.address),
    };
    let error = after.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    Some(EventNote {
        type_,
        reason: reason.to_owned(),
        action: "Dial",
        field: format!("status.nodes{{{}}}", after.address),
        note: shortened(&format!("{name} {said}{error}")),
    })
}

/// Cuts a text between two characters.
fn shortened(text: &str) -> String {
    let ends = text.char_indices().map(|(start, char)| start + char.len_utf8());
    text[..ends.take_while(|end| *end <= NOTE_LIMIT).last().unwrap_or(0)].to_owned()
}

/// Writes Events. What is told again within some minutes counts in the Event that is there, and an object that has much
/// to tell is cut short: 25 at once, then one every 5 minutes.
pub struct Publisher {
    client: Client,
    instance: String,
    ledger: Mutex<Ledger>,
}

impl Publisher {
    /// `instance` names this process in each Event.
    pub fn new(client: Client, instance: impl Into<String>) -> Self {
        Self { client, instance: instance.into(), ledger: Mutex::default() }
    }

    /// Tells it. Losing an Event is no reason to do anything again, so errors are only logged. Returns how many
    /// requests were made.
    pub async fn publish(&self, object: &PortForward, notes: &[EventNote]) -> usize {
        let regarding = ObjectReference { resource_version: None, ..object.object_ref(&()) };
        let mut requests = 0;
        for note in notes {
            let entry = Entry::of(&regarding, note);
            let Some(turn) = self.ledger().next(&entry, Instant::now(), Timestamp::now()) else { continue };
            requests += 1;
            match tokio::time::timeout(REQUEST_TIMEOUT, self.write(&regarding, note, &turn)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.ledger().forget(&entry);
                    tracing::debug!(%error, reason = note.reason, "an event was not written");
                }
                Err(_) => tracing::debug!(reason = note.reason, "an event was not written within {REQUEST_TIMEOUT:?}"),
            }
        }
        requests
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, regarding: &ObjectReference, note: &EventNote, turn: &Turn) -> Result<(), kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), regarding.namespace.as_deref().unwrap_or("default"));
        match turn {
            Turn::First { name } => {
                let event = self.event(regarding, note, name);
                api.create(&PostParams::default(), &event).await.map(drop)
            }
            Turn::Again { name, count } => {
                let series = EventSeries { count: *count, last_observed_time: MicroTime(Timestamp::now()) };
                let patch = Patch::Merge(json!({ "series": series }));
                api.patch(name, &PatchParams::default(), &patch).await.map(drop)
            }
        }
    }

    fn event(&self, regarding: &ObjectReference, note: &EventNote, name: &str) -> Event {
        let type_ = match note.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            regarding: Some(ObjectReference { field_path: Some(note.field.clone()), ..regarding.clone() }),
            action: Some(note.action.to_owned()),
            reason: Some(note.reason.clone()),
            note: Some(note.note.clone()),
            type_: Some(type_.to_owned()),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}
