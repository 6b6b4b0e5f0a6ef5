//! The committed `openapi.yaml` is what the code says, and tells every refusal there is.

use comfy_gateway::api::openapi;
use comfy_gateway::api::problem::KINDS;

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = include_str!("../openapi.yaml");
    assert!(committed == openapi::yaml(), "openapi.yaml is out of date: cargo run -- openapi > openapi.yaml");
}

#[test]
fn every_code_stands_at_some_endpoint_with_its_status() {
    let document: serde_json::Value = serde_json::from_str(&openapi::json()).unwrap();
    let mut told = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let description = response["description"].as_str().unwrap_or_default().to_owned();
                told.push((format!("{method} {path}"), status.clone(), description));
            }
        }
    }
    // What is refused before it reaches an endpoint is told of at the beginning.
    let beginning = document["info"]["description"].as_str().unwrap();
    for kind in KINDS {
        let quoted = format!("`{}`", kind.code);
        if beginning.contains(&format!("{} {quoted}", kind.status.as_u16())) {
            continue;
        }
        let status = kind.status.as_u16().to_string();
        let found = told.iter().any(|(_, at, text)| *at == status && text.contains(&quoted));
        assert!(found, "{} ({status}) stands at no endpoint", kind.code);
    }
}

#[test]
fn every_refusal_has_the_one_format() {
    let document: serde_json::Value = serde_json::from_str(&openapi::json()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                operation["operationId"].is_string()
                    && operation["description"].as_str().or(operation["summary"].as_str()).is_some(),
                "{method} {path}"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with(['4', '5']) {
                    let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }
}

/// Both forms read by one reader: JSON is YAML.
#[test]
fn the_document_says_the_same_in_both_forms() {
    let read = |text: &str| yaml_serde::from_str::<yaml_serde::Value>(text).unwrap();
    assert_eq!(read(&openapi::yaml()), read(&openapi::json()));
    assert!(openapi::yaml().contains("\n          maximum: 1000\n"), "numbers are numbers");
}
