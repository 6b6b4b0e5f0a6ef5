//! Checks of the OpenAPI document: the committed file is up to date, and every error code and format is described.

use comfy_gateway::api::openapi;
use comfy_gateway::api::problem::KINDS;

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = include_str!("../openapi.yaml");
    assert!(committed == openapi::yaml(), "openapi.yaml is out of date: cargo run -- openapi > openapi.yaml");
}

#[test]
fn every_code_is_described_at_some_endpoint_with_its_status() {
    let document: serde_json::Value = serde_json::from_str(&openapi::json()).unwrap();
    let mut described = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let description = response["description"].as_str().unwrap_or_default().to_owned();
                described.push((format!("{method} {path}"), status.clone(), description));
            }
        }
    }
    // The introduction describes the errors of requests that reach no endpoint.
    let introduction = document["info"]["description"].as_str().unwrap();
    for kind in KINDS {
        let quoted = format!("`{}`", kind.code);
        if introduction.contains(&format!("{} {quoted}", kind.status.as_u16())) {
            continue;
        }
        let status = kind.status.as_u16().to_string();
        let found = described.iter().any(|(_, at, text)| *at == status && text.contains(&quoted));
        assert!(found, "{} ({status}) is described at no endpoint", kind.code);
    }
}

#[test]
fn every_error_response_has_the_problem_format() {
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

/// The YAML parser reads both forms, because JSON is YAML.
#[test]
fn both_forms_of_the_document_have_the_same_contents() {
    let read = |text: &str| yaml_serde::from_str::<yaml_serde::Value>(text).unwrap();
    assert_eq!(read(&openapi::yaml()), read(&openapi::json()));
    assert!(openapi::yaml().contains("\n          maximum: 1000\n"), "numbers are not quoted");
}
