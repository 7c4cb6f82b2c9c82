//! Every bound of the schema, broken in a document that is good otherwise, and kept exactly at its end: both judges
//! must refuse the one, naming the field, and take the other. The cases are made from the CRD, so none is forgotten.

use fairlead_tests::cluster::ControlPlane;
use serde_json::{Value, json};

use crate::documents::{every_field, offline_says, schema, server_says};

/// A field that both judges know, as `spec.targets[0].port`, with its schema.
struct Field {
    path: String,
    schema: Value,
    required: Vec<String>,
}

/// A value that breaks one bound, and words of the API server's complaint.
struct Break {
    value: Option<Value>,
    at: String,
    words: &'static str,
}

fn fields(path: &str, schema: &Value, found: &mut Vec<Field>) {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let required = names.map(str::to_owned).collect();
    found.push(Field { path: path.to_owned(), schema: schema.clone(), required });
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        fields(&format!("{path}.{name}"), inner, found);
    }
    if let Some(items) = schema.get("items") {
        fields(&format!("{path}[0]"), items, found);
    }
}

fn spec_fields() -> Vec<Field> {
    let mut found = Vec::new();
    fields("spec", &schema()["properties"]["spec"], &mut found);
    found
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace("[0]", ".0").replace('.', "/"))
}

/// The first good document that has the field.
fn holder(path: &str) -> Value {
    let mut documents = every_field().into_iter();
    let holder = documents.find(|document| document.pointer(&pointer(path)).is_some());
    holder.unwrap_or_else(|| panic!("no document has the field {path}; give it to one in documents.rs"))
}

fn with(path: &str, value: Option<Value>) -> Value {
    let mut document = holder(path);
    match value {
        Some(value) => *document.pointer_mut(&pointer(path)).expect("the field") = value,
        None => {
            let (parent, name) = path.rsplit_once('.').expect("a field of an object");
            let parent = document.pointer_mut(&pointer(parent)).and_then(Value::as_object_mut);
            parent.expect("the object").remove(name);
        }
    }
    document
}

impl Field {
    fn bound(&self, name: &str) -> Option<i64> {
        let bound = self.schema.get(name)?;
        bound.as_i64().or_else(|| bound.as_f64().map(|bound| bound as i64))
    }

    fn length(&self, name: &str) -> Option<usize> {
        self.bound(name).and_then(|bound| bound.try_into().ok())
    }

    /// Items like the one that the document has.
    fn items(&self, count: usize) -> Value {
        let document = holder(&self.path);
        vec![document.pointer(&pointer(&self.path)).expect("the list")[0].clone(); count].into()
    }

    /// A good text of this length, where one comes to mind.
    fn text(&self, length: usize) -> String {
        match self.schema["pattern"].as_str() {
            Some(pattern) if pattern.contains("(h|m|s|ms)") => "999999ms".repeat(length / 8),
            _ if self.path.ends_with("allowTargets[0]") => {
                "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128".to_owned()
            }
            _ if self.path.ends_with("allowBind[0]") => "10000-65535".to_owned(),
            _ => "a".repeat(length),
        }
    }

    fn breaks(&self) -> Vec<Break> {
        let broken = |value: Value, words| Break { value: Some(value), at: self.path.clone(), words };
        let mut all = vec![match self.schema["type"].as_str() {
            Some("string") => broken(json!({}), "must be of type string"),
            Some("integer") => broken(json!("x"), "must be of type integer"),
            Some("boolean") => broken(json!("x"), "must be of type boolean"),
            Some("array") => broken(json!({}), "must be of type array"),
            Some("object") => broken(json!("x"), "must be of type object"),
            kind => panic!("{} is of type {kind:?}", self.path),
        }];
        if self.schema["enum"].is_array() {
            all.push(broken(json!("nonsense"), "supported values"));
        }
        if self.schema["pattern"].is_string() {
            all.push(broken(json!("?"), "should match"));
        }
        all.extend(self.bound("minimum").map(|least| broken(json!(least - 1), "greater than or equal to")));
        all.extend(self.bound("maximum").map(|most| broken(json!(most + 1), "less than or equal to")));
        all.extend(self.length("minLength").map(|least| broken(json!("a".repeat(least - 1)), "at least")));
        all.extend(self.length("maxLength").map(|most| broken(json!("a".repeat(most + 1)), "Too long")));
        all.extend(self.length("minItems").map(|least| broken(self.items(least - 1), "at least")));
        all.extend(self.length("maxItems").map(|most| broken(self.items(most + 1), "Too many")));
        let removed =
            |name: &String| Break { value: None, at: format!("{}.{name}", self.path), words: "Required value" };
        all.extend(self.required.iter().map(removed));
        all
    }

    /// Values at the very ends of what is allowed.
    fn ends(&self) -> Vec<Value> {
        let numbers = ["minimum", "maximum"].into_iter().filter_map(|name| self.bound(name)).map(Value::from);
        let text = self.length("maxLength").map(|most| self.text(most).into());
        let list = self.length("maxItems").map(|most| self.items(most));
        let words = self.schema["enum"].as_array().into_iter().flatten().cloned();
        numbers.chain(text).chain(list).chain(words).collect()
    }
}

#[test]
fn every_broken_bound_is_refused_and_told_at_the_same_field() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for Break { value, at, words } in spec_fields().iter().flat_map(Field::breaks) {
        let document = with(&at, value.clone());
        let (server, offline) = (server_says(&namespace, &document), offline_says(&document));
        let by_server = server.iter().any(|told| told.field == at && told.message.contains(words));
        if !by_server || !offline.iter().any(|told| told.field == at) {
            wrong.push(format!("{at} = {value:?}, {words:?}\n  server: {server:?}\n  offline: {offline:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "{count}");
}

#[test]
fn every_bound_can_be_reached() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for field in spec_fields() {
        for value in field.ends() {
            let document = with(&field.path, Some(value.clone()));
            let (server, offline) = (server_says(&namespace, &document), offline_says(&document));
            if !server.is_empty() || !offline.is_empty() {
                wrong.push(format!("{} = {value}\n  server: {server:?}\n  offline: {offline:?}", field.path));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 60, "{count}");
}

#[test]
fn a_field_that_does_not_exist_is_refused_wherever_it_stands() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    let objects: Vec<Field> = spec_fields().into_iter().filter(|field| field.schema["type"] == "object").collect();
    for Field { path, .. } in &objects {
        let mut document = holder(path);
        document.pointer_mut(&pointer(path)).expect("the object")["unheardOf"] = json!(1);
        let at = format!("{path}.unheardOf");
        let (server, offline) = (server_says(&namespace, &document), offline_says(&document));
        assert!(
            server.iter().any(|told| told.message.contains(&format!("unknown field \"{at}\""))),
            "{at}: {server:?}"
        );
        assert!(offline.iter().any(|told| told.field == at && told.message.contains("unknown field")), "{offline:?}");
    }
    assert!(objects.len() > 20, "{}", objects.len());
}

#[test]
fn documents_with_every_field_are_taken() {
    let Some(cluster) = ControlPlane::shared() else { return };
    let namespace = cluster.namespace();
    for document in every_field() {
        assert_eq!(server_says(&namespace, &document), [], "{document}");
        assert_eq!(offline_says(&document), [], "{document}");
    }
}
