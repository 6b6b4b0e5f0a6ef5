//! Registered workflows, their versions, and the jobs that run them.

use comfy_gateway::domain::job::NewJob;
use comfy_gateway::domain::registered::{WorkflowName, WorkflowRef};
use comfy_gateway::store::{GatewayStore, NewWorkflow, RegistrationOutcome};

use crate::support::{at, id, job};

fn name(name: &str) -> WorkflowName {
    WorkflowName::parse(name).unwrap()
}

fn reference(text: &str) -> WorkflowRef {
    WorkflowRef::parse(text).unwrap()
}

pub fn workflow(text: &str, graph: &str) -> NewWorkflow {
    NewWorkflow {
        name: name(text),
        title: Some("A title".to_owned()),
        description: None,
        graph: graph.to_owned(),
        source: None,
        from_folder: false,
        created_at: at(5),
    }
}

pub async fn a_changed_workflow_is_a_new_version_and_old_ones_stay(store: &dyn GatewayStore) {
    let first = workflow("a", r#"{ "1": 1.50}"#);
    assert_eq!(store.put_workflow(first.clone()).await.unwrap(), RegistrationOutcome::New(1));
    let later = NewWorkflow { created_at: at(9), ..first.clone() };
    assert_eq!(store.put_workflow(later).await.unwrap(), RegistrationOutcome::Same(1));
    for (version, changed) in [
        (2, NewWorkflow { graph: "{}".to_owned(), ..first.clone() }),
        (3, NewWorkflow { title: None, ..first.clone() }),
        (4, NewWorkflow { source: Some("{}".to_owned()), ..first.clone() }),
        (5, NewWorkflow { from_folder: true, ..first.clone() }),
        (6, first.clone()),
    ] {
        assert_eq!(store.put_workflow(changed.clone()).await.unwrap(), RegistrationOutcome::New(version));
        let newest = store.workflow(&reference("a")).await.unwrap().unwrap();
        assert_eq!((newest.version, newest.workflow), (version, changed));
    }
    let old = store.workflow(&reference("a@1")).await.unwrap().unwrap();
    assert_eq!((old.version, old.workflow), (1, first));
    assert_eq!(store.workflow(&reference("a@7")).await.unwrap(), None);
    assert_eq!(store.workflow(&reference("b")).await.unwrap(), None);
    let versions = store.versions(&name("a")).await.unwrap();
    assert_eq!(versions, (1..=6).map(|version| (version, at(5))).collect::<Vec<_>>());
}

pub async fn an_editor_file_is_the_same_version_whatever_graph_it_converts_to(store: &dyn GatewayStore) {
    let first = NewWorkflow { source: Some("{}".to_owned()), ..workflow("a", "1") };
    assert_eq!(store.put_workflow(first.clone()).await.unwrap(), RegistrationOutcome::New(1));
    let dated = NewWorkflow { graph: "2".to_owned(), created_at: at(9), ..first.clone() };
    assert_eq!(store.put_workflow(dated.clone()).await.unwrap(), RegistrationOutcome::Same(1));
    assert_eq!(store.workflow(&reference("a")).await.unwrap().unwrap().workflow, first);
    let changed = NewWorkflow { source: Some("[]".to_owned()), ..dated };
    assert_eq!(store.put_workflow(changed).await.unwrap(), RegistrationOutcome::New(2));
}

pub async fn the_list_has_the_newest_version_of_each_name(store: &dyn GatewayStore) {
    assert!(store.workflows().await.unwrap().is_empty());
    for (text, graph) in [("b", "1"), ("a", "1"), ("b", "2"), ("a-b", "1")] {
        store.put_workflow(workflow(text, graph)).await.unwrap();
    }
    let all = store.workflows().await.unwrap();
    let found: Vec<_> = all.iter().map(|workflow| (workflow.name.as_str(), workflow.version)).collect();
    assert_eq!(found, [("a", 1), ("a-b", 1), ("b", 2)]);
    assert_eq!((all[0].title.as_deref(), all[0].created_at), (Some("A title"), at(5)));
}

pub async fn a_deleted_workflow_loses_its_versions_but_not_its_numbering(store: &dyn GatewayStore) {
    for graph in ["1", "2"] {
        store.put_workflow(workflow("a", graph)).await.unwrap();
    }
    store.put_workflow(workflow("b", "1")).await.unwrap();
    assert!(store.delete_workflow(&name("a")).await.unwrap());
    assert!(!store.delete_workflow(&name("a")).await.unwrap());
    assert_eq!(store.workflow(&reference("a@1")).await.unwrap(), None);
    assert_eq!(store.workflows().await.unwrap().len(), 1);
    // The numbering continues, so that a version number never denotes two graphs.
    assert_eq!(store.put_workflow(workflow("a", "3")).await.unwrap(), RegistrationOutcome::New(3));
    assert!(store.delete_workflow(&name("a")).await.unwrap());
    assert_eq!(store.put_workflow(workflow("a", "3")).await.unwrap(), RegistrationOutcome::New(4));
    assert_eq!(store.workflow(&reference("a@3")).await.unwrap(), None);
}

pub async fn jobs_are_listed_by_their_workflow(store: &dyn GatewayStore) {
    for (n, workflow) in [(1, Some("a@1")), (2, Some("a@2")), (3, Some("ab@1")), (4, None), (5, Some("a@1"))]
    {
        store.insert(NewJob { workflow: workflow.map(str::to_owned), ..job(n) }).await.unwrap();
    }
    for (asked, expected) in [("a", vec![5, 2, 1]), ("a@1", vec![5, 1]), ("ab", vec![3]), ("b", vec![])] {
        let page = store.list(None, Some(&reference(asked)), None, 10).await.unwrap();
        let found: Vec<_> = page.jobs.iter().map(|job| job.prompt_id).collect();
        assert_eq!(found, expected.into_iter().map(id).collect::<Vec<_>>(), "{asked}");
    }
    let page = store.list(None, None, None, 1).await.unwrap();
    assert_eq!(page.jobs[0].workflow.as_deref(), Some("a@1"));
}
