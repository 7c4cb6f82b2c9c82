//! Where an object on the API server is not as wanted: from JSON to paths. Pure. What the server adds (defaults, status)
//! is no drift; what it spells in its own way is remembered by the caller and compared as such.

use std::collections::BTreeMap;

use serde_json::Value;

/// Path of a field to what stands there, `Null` where nothing does.
pub(super) type Differences = BTreeMap<String, Value>;

/// Maps that are one value: whatever somebody adds there changes what it means.
const WHOLE: [&str; 4] = ["selector", "nodeSelector", "podSelector", "matchLabels"];

/// Lists every field of `wanted` that `present` has not or has otherwise.
pub(super) fn differences(wanted: &Value, present: &Value) -> Differences {
    let mut found = Differences::new();
    compare("", wanted, present, &mut found);
    found
}

/// Whether somebody added to a list, or took from it: what an apply leaves as it is, since each item is its writer's.
pub(super) fn has_strays(wanted: &Value, present: &Value) -> bool {
    differences(wanted, present).values().any(Value::is_array)
}

fn compare(path: &str, wanted: &Value, present: &Value, found: &mut Differences) {
    match (wanted, present) {
        (Value::Object(wanted), Value::Object(present)) => {
            for (name, value) in wanted {
                compare(&format!("{path}/{name}"), value, present.get(name).unwrap_or(&Value::Null), found);
            }
            let is_whole = WHOLE.iter().any(|name| path.rsplit('/').next() == Some(name));
            for (name, value) in present.iter().filter(|(name, _)| is_whole && !wanted.contains_key(*name)) {
                found.insert(format!("{path}/{name}"), value.clone());
            }
        }
        (Value::Array(wanted), Value::Array(present)) if wanted.len() == present.len() => {
            for (index, (wanted, present)) in wanted.iter().zip(present).enumerate() {
                compare(&format!("{path}/{index}"), wanted, present, found);
            }
        }
        // An empty map or list that the server leaves out says the same.
        (Value::Object(map), Value::Null) if map.is_empty() => {}
        (Value::Array(list), Value::Null) if list.is_empty() => {}
        _ if wanted == present => {}
        _ => {
            found.insert(path.to_owned(), present.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_adds_is_no_drift_and_what_is_changed_or_gone_is() {
        let wanted = json!({"a": {"b": 1, "e": {}}, "l": [{"n": "x"}]});
        let present = json!({"a": {"b": 1, "c": 2}, "l": [{"n": "x", "d": true}], "status": {}});
        assert_eq!(differences(&wanted, &present), Differences::new());
        for (present, path) in [
            (json!({"a": {"b": 2}, "l": [{"n": "x"}]}), "/a/b"),
            (json!({"a": {}, "l": [{"n": "x"}]}), "/a/b"),
            (json!({"a": {"b": 1}, "l": []}), "/l"),
            (json!({"a": {"b": 1}, "l": [{"n": "y"}]}), "/l/0/n"),
        ] {
            assert_eq!(differences(&wanted, &present).into_keys().collect::<Vec<_>>(), [path]);
        }
    }

    #[test]
    fn what_is_added_to_a_selector_or_a_list_counts() {
        let wanted = json!({"selector": {"a": "1"}, "ports": [{"port": 1}]});
        let added = json!({"selector": {"a": "1", "b": "2"}, "ports": [{"port": 1}]});
        assert_eq!(differences(&wanted, &added).into_keys().collect::<Vec<_>>(), ["/selector/b"]);
        assert!(!has_strays(&wanted, &added));
        assert!(has_strays(&wanted, &json!({"selector": {"a": "1"}, "ports": [{"port": 1}, {"port": 2}]})));
    }
}
