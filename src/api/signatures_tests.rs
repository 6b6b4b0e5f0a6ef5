//! Tests of the operations for registered workflows.

use super::*;
use crate::domain::registered::WorkflowName;
use crate::domain::time::UnixMillis;

fn workflow(name: &str) -> WorkflowSummary {
    WorkflowSummary {
        name: WorkflowName::parse(name).unwrap(),
        version: 3,
        title: Some("A portrait".to_owned()),
        description: None,
        from_folder: false,
        created_at: UnixMillis::from_millis(0),
    }
}

#[test]
fn every_workflow_is_an_operation_with_its_own_schema() {
    let general: Value = serde_json::from_str(&super::super::openapi::json()).unwrap();
    let params = json!({"type": "object", "required": ["photo"], "properties": {
        "photo": {"allOf": [{"$ref": MEDIA}], "x-media": "image"}, "steps": {"type": "integer"}}});
    let document = with_workflows(general.clone(), vec![(workflow("por-trait"), params.clone())]);
    let operation = &document["paths"]["/workflows/por-trait/execute"]["post"];
    assert_eq!(
        (&operation["operationId"], &operation["summary"]),
        (&json!("execute_por_trait"), &json!("A portrait"))
    );
    assert_eq!(operation["requestBody"]["content"]["application/json"]["schema"], params);
    assert_eq!(operation["requestBody"]["required"], true);
    let form = &operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"];
    assert_eq!(*form, json!({"photo": {"type": "string", "format": "binary"}, "steps": {"type": "integer"}}));
    assert!(operation["parameters"].as_array().unwrap().iter().all(|parameter| parameter["in"] != "path"));
    assert_eq!(operation["responses"], general["paths"]["/workflows/{name}/execute"]["post"]["responses"]);
    assert!(document["components"]["schemas"]["MediaValue"]["anyOf"].is_array());
    assert_eq!(document["paths"].as_object().unwrap().len(), general["paths"].as_object().unwrap().len() + 1);
}

#[test]
fn no_two_operations_have_the_same_id() {
    let general: Value = serde_json::from_str(&super::super::openapi::json()).unwrap();
    let params = json!({"type": "object", "properties": {}});
    let names = ["a-b", "a.b", "a_b", "workflow"];
    let all = names.map(|name| (workflow(name), params.clone()));
    let document = with_workflows(general, all.to_vec());
    let id =
        |name: &str| document["paths"][format!("/workflows/{name}/execute")]["post"]["operationId"].clone();
    // `execute_workflow` is the id of the general operation.
    let ids = names.map(id);
    assert_eq!(ids, ["execute_a_b", "execute_a_b_2", "execute_a_b_3", "execute_workflow_2"]);
    assert_eq!(id("{name}"), "execute_workflow");
}

#[test]
fn a_form_takes_several_files_where_several_nodes_do() {
    let media = json!({ "$ref": MEDIA });
    let params = json!({"properties": {"photos": {"anyOf": [media, {"type": "array", "items": media}], "x-media": "image"}}});
    let photos = &form(&params)["properties"]["photos"];
    assert_eq!((&photos["type"], &photos["items"]["format"]), (&json!("array"), &json!("binary")));
}

#[test]
fn without_workflows_the_document_is_the_committed_one() {
    let general = json!({"paths": {}});
    assert_eq!(with_workflows(general.clone(), vec![]), general);
}
