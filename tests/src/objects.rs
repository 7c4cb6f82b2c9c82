//! Reading the PortForward objects that `-o json` prints, as a user's script would: by their field names.

use serde_json::Value;

/// The state of a node, `Alive` or `Dead` for example; none if the object doesn't name the node.
pub fn node_state<'a>(object: &'a Value, address: &str) -> Option<&'a str> {
    node(object, address)?["state"].as_str()
}

/// What the status says of a node.
pub fn node<'a>(object: &'a Value, address: &str) -> Option<&'a Value> {
    object["status"]["nodes"].as_array()?.iter().find(|node| node["address"] == address)
}

/// One condition of the status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition has this status and reason.
pub fn has_condition(object: &Value, kind: &str, status: &str, reason: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == status && condition["reason"] == reason)
}

/// Whether a condition is true, for whatever reason.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Whether it is the object with this name.
pub fn is_named(object: &Value, name: &str) -> bool {
    object["metadata"]["name"] == name
}
