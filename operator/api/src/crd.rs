//! The CustomResourceDefinition, from the types to the API server and to `deploy/`; the same bytes at every call.

use fairlead_config::yaml::{self, YamlError};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::PortForward;

/// Makes the CustomResourceDefinition of `PortForward`.
pub fn crd() -> CustomResourceDefinition {
    PortForward::crd()
}

/// Writes the CustomResourceDefinition as YAML.
pub fn crd_yaml() -> Result<String, YamlError> {
    yaml::to_string(&crd())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Kubernetes' limit for the whole object, with room for what an API server adds.
    const BYTES_LIMIT: usize = 256 * 1024;

    fn schema() -> Value {
        serde_json::to_value(crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    /// Calls `visit` with the path and schema of every value.
    fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{path}.{name}"), visit);
        }
        if let Some(items) = schema.get("items") {
            assert!(items.is_object(), "{path}: a tuple");
            walk(items, &format!("{path}[]"), visit);
        }
    }

    #[test]
    fn every_value_has_a_type_and_no_forbidden_shape() {
        const FORBIDDEN: [&str; 10] = [
            "$ref",
            "default",
            "oneOf",
            "anyOf",
            "allOf",
            "not",
            "additionalProperties",
            "uniqueItems",
            "definitions",
            "$schema",
        ];
        walk(&schema(), "", &mut |path, schema| {
            for word in FORBIDDEN {
                assert!(schema.get(word).is_none(), "{path} has {word}");
            }
            assert!(schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true, "{path} has no type");
            assert!(schema.get("nullable").is_none() || path == ".status", "{path} may be null");
            assert!(!schema["enum"].as_array().into_iter().flatten().any(Value::is_null), "{path}: null is no word");
            let format = schema["format"].as_str().unwrap_or("int32");
            assert!(["int32", "int64", "date-time"].contains(&format), "{path}: API servers warn of format {format}");
        });
    }

    #[test]
    fn every_list_and_text_that_people_write_is_limited() {
        walk(&schema(), "", &mut |path, schema| {
            let conditions = path.starts_with(".status.conditions") || path.ends_with("lastTransitionTime");
            match schema["type"].as_str() {
                Some("array") => {
                    assert!(conditions || schema["maxItems"].is_u64(), "{path} has no maxItems");
                    assert!(schema["x-kubernetes-list-type"].is_string(), "{path} has no list type");
                }
                Some("string") => assert!(
                    conditions || schema["maxLength"].is_u64() || schema["enum"].is_array(),
                    "{path} has no maxLength"
                ),
                Some("integer") => {
                    assert!(path.starts_with(".status") || schema["maximum"].is_number(), "{path} has no maximum")
                }
                _ => {}
            }
        });
    }

    #[test]
    fn every_field_is_explained() {
        walk(&schema(), "", &mut |path, schema| {
            assert!(
                path.ends_with("[]") || schema["description"].as_str().is_some_and(|text| text.len() > 8),
                "{path} has no description"
            );
        });
    }

    #[test]
    fn rules_compile_and_say_on_one_line_what_to_write() {
        walk(&schema(), "", &mut |path, schema| {
            let compiled = kube::core::cel::compile_schema(schema);
            assert!(compiled.compilation_errors().is_empty(), "{path}: {:?}", compiled.compilation_errors());
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(
                    message.contains("write") || message.contains("leave it out") || message.contains("put it into"),
                    "{path}: {message}"
                );
                assert!(!message.contains('\n') && message.len() <= 2048, "{path}: {message}");
                if let Some(field) = rule["fieldPath"].as_str() {
                    let pointer = field.replace('.', "/properties/");
                    assert!(schema.pointer(&pointer).is_some(), "{path}: no field {field}");
                }
            }
        });
    }

    #[test]
    fn the_resource_is_named_as_documented() {
        let crd = crd();
        let version = &crd.spec.versions[0];
        assert_eq!(crd.metadata.name.as_deref(), Some("portforwards.fairlead.dev"));
        assert_eq!(crd.spec.names.short_names.as_deref(), Some(["pfw".to_owned()].as_slice()));
        assert_eq!(crd.spec.names.categories.as_deref(), Some(["fairlead".to_owned()].as_slice()));
        assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()));
        let columns: Vec<(&str, bool)> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| (column.name.as_str(), column.priority.is_some()))
            .collect();
        let (always, wide): (Vec<_>, Vec<_>) = columns.iter().partition(|(_, wide)| !wide);
        assert_eq!(
            always.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["Scheme", "Listen", "Nodes", "Ready", "Age"]
        );
        assert_eq!(
            wide.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["Reason", "Address", "Strategy", "Proxies", "Message"]
        );
    }

    #[test]
    fn the_yaml_is_the_same_at_every_call_and_reads_back_equal() {
        let text = crd_yaml().unwrap();
        assert_eq!(text, crd_yaml().unwrap());
        assert!(text.len() < BYTES_LIMIT, "{} bytes", text.len());
        assert_eq!(yaml::from_str::<CustomResourceDefinition>(&text).unwrap(), crd());
    }
}
