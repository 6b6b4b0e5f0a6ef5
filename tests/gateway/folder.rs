//! The folder of workflow files: files that are refused, names that are taken, and the effect of a restart.

use std::path::Path;

use comfy_gateway::simulator::Simulator;
use serde_json::{Value, json};

use crate::support::{Gateway, editor_picture, picture, poll, simulator, titled};

async fn following(comfy: &Simulator, folder: &Path) -> Gateway {
    Gateway::with(&[comfy], |settings| {
        settings.workflows = Some(folder.to_owned());
        settings.service.follows_folder = true;
        settings.service.max_workflow = 10_000;
    })
    .await
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), text).unwrap();
}

async fn versions(gateway: &Gateway) -> Vec<(String, u64)> {
    let all: Value = gateway.get("/workflows").await.json().await.unwrap();
    let all = all["workflows"].as_array().unwrap();
    all.iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["version"].as_u64().unwrap()))
        .collect()
}

/// Polls until exactly these workflows are registered.
async fn until(gateway: &Gateway, expected: &[(&str, u64)]) {
    poll(async || {
        let found = versions(gateway).await;
        let found = found.iter().map(|(name, version)| (name.as_str(), *version));
        found.eq(expected.iter().copied()).then_some(())
    })
    .await;
}

async fn graph(gateway: &Gateway, name: &str) -> Value {
    let found: Value = gateway.get(&format!("/workflows/{name}")).await.json().await.unwrap();
    found["workflow"].clone()
}

#[tokio::test]
async fn what_cannot_be_registered_stands_in_no_others_way() {
    let (comfy, folder) = (simulator().await, tempfile::tempdir().unwrap());
    let path = folder.path();
    write(path, "a b.json", picture(1).to_string());
    write(path, "a-b.json", picture(2).to_string());
    write(path, "binary.json", [0xff, 0xfe, 0x00]);
    write(path, "large.json", titled(picture(3), "1", &"x".repeat(10_001)).to_string());
    write(path, "日本.json", picture(4).to_string());
    write(path, "empty.json", "");
    std::fs::create_dir(path.join("folder.json")).unwrap();
    std::os::unix::fs::symlink(path.join("nothing"), path.join("dangling.json")).unwrap();
    write(path, "z.json", picture(5).to_string());
    let gateway = following(&comfy, path).await;
    // Of two files with one name, the first by name has it; the other follows when that one is gone.
    until(&gateway, &[("a-b", 1), ("z", 1)]).await;
    assert_eq!(graph(&gateway, "a-b").await, picture(1));
    std::fs::remove_file(path.join("a b.json")).unwrap();
    write(path, "large.json", picture(3).to_string());
    write(path, "binary.json", picture(6).to_string());
    until(&gateway, &[("a-b", 2), ("binary", 1), ("large", 1), ("z", 1)]).await;
    assert_eq!(graph(&gateway, "a-b").await, picture(2));
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_that_breaks_leaves_the_version_before_it() {
    let (comfy, folder) = (simulator().await, tempfile::tempdir().unwrap());
    write(folder.path(), "a.json", picture(1).to_string());
    let gateway = following(&comfy, folder.path()).await;
    until(&gateway, &[("a", 1)]).await;
    write(folder.path(), "a.json", "{\"1\": {");
    write(folder.path(), "b.json", picture(2).to_string());
    // When the second is there, the broken one was seen.
    until(&gateway, &[("a", 1), ("b", 1)]).await;
    assert_eq!(graph(&gateway, "a").await, picture(1));
    gateway.finish().await;
}

#[tokio::test]
async fn a_file_takes_over_a_name_that_was_registered_before_it() {
    let (comfy, folder) = (simulator().await, tempfile::tempdir().unwrap());
    let gateway = following(&comfy, folder.path()).await;
    let url = format!("{}/workflows/a", gateway.base);
    let put =
        async |graph: &Value| gateway.http.put(&url).json(graph).send().await.unwrap().status().as_u16();
    assert_eq!(put(&picture(1)).await, 201);
    write(folder.path(), "a.json", picture(2).to_string());
    until(&gateway, &[("a", 2)]).await;
    assert_eq!(put(&picture(3)).await, 409);
    assert_eq!(graph(&gateway, "a@1").await, picture(1));
    assert_eq!(graph(&gateway, "a").await, picture(2));
    // It goes with its file, and then the name is free; versions go on counting.
    std::fs::remove_file(folder.path().join("a.json")).unwrap();
    until(&gateway, &[]).await;
    assert_eq!(put(&picture(3)).await, 201);
    until(&gateway, &[("a", 3)]).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_folder_that_goes_and_comes_again_takes_no_workflow_along() {
    let (comfy, outer) = (simulator().await, tempfile::tempdir().unwrap());
    let folder = outer.path().join("workflows");
    let gateway = following(&comfy, &folder).await;
    assert_eq!(versions(&gateway).await, []);
    std::fs::create_dir(&folder).unwrap();
    write(&folder, "a.json", picture(1).to_string());
    until(&gateway, &[("a", 1)]).await;
    // As a mount that is away for a while.
    std::fs::rename(&folder, outer.path().join("away")).unwrap();
    let left = gateway.stop().await;
    let gateway = left.start().await;
    assert_eq!(versions(&gateway).await, [("a".to_owned(), 1)]);
    std::fs::rename(outer.path().join("away"), &folder).unwrap();
    write(&folder, "b.json", picture(2).to_string());
    until(&gateway, &[("a", 1), ("b", 1)]).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_restart_makes_no_new_version_of_a_file_whose_graph_is_of_the_moment() {
    let (comfy, folder) = (simulator().await, tempfile::tempdir().unwrap());
    let mut editor = editor_picture(1, "");
    editor["nodes"][1]["widgets_values"] = json!(["%date:yyyyMMddhhmmss%"]);
    write(folder.path(), "dated.json", editor.to_string());
    let gateway = following(&comfy, folder.path()).await;
    until(&gateway, &[("dated", 1)]).await;
    let before = graph(&gateway, "dated").await["2"]["inputs"]["filename_prefix"].clone();
    assert_eq!(before.as_str().unwrap().len(), 14, "{before}");
    // Until the clock gives another name to a file.
    let moment = async || -> Value {
        let converted: Value = gateway.post("/convert", &editor).await.json().await.unwrap();
        converted["workflow"]["2"]["inputs"]["filename_prefix"].clone()
    };
    poll(async || (moment().await != before).then_some(())).await;
    let id = gateway.execute(&json!({ "workflow": "dated" })).await;
    let made = gateway.result(&id).await["media"][0]["filename"].as_str().unwrap().to_owned();
    assert!(!made.starts_with(before.as_str().unwrap()), "{made} is of the registration's moment");

    let gateway = gateway.stop().await.start().await;
    write(folder.path(), "later.json", picture(2).to_string());
    until(&gateway, &[("dated", 1), ("later", 1)]).await;
    gateway.finish().await;
}

#[tokio::test]
async fn without_the_folder_its_workflows_stay_and_can_be_changed() {
    let (comfy, folder) = (simulator().await, tempfile::tempdir().unwrap());
    write(folder.path(), "a.json", picture(1).to_string());
    let gateway = following(&comfy, folder.path()).await;
    until(&gateway, &[("a", 1)]).await;
    let mut left = gateway.stop().await;
    left.settings.workflows = None;
    left.settings.service.follows_folder = false;
    let gateway = left.start().await;
    let url = format!("{}/workflows/a", gateway.base);
    let changed = gateway.http.put(&url).json(&picture(2)).send().await.unwrap();
    assert_eq!(changed.status(), 201);
    let body: Value = changed.json().await.unwrap();
    assert_eq!((&body["version"], &body["from_folder"]), (&json!(2), &json!(false)));
    assert_eq!(gateway.http.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(versions(&gateway).await, []);
    gateway.finish().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_followed_and_one_that_leads_nowhere_is_none() {
    let (comfy, folder, elsewhere) =
        (simulator().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(elsewhere.path(), "v1.txt", picture(1).to_string());
    let target = elsewhere.path().join("v1.txt");
    std::os::unix::fs::symlink(&target, folder.path().join("linked.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.json")).unwrap();
    std::fs::create_dir(folder.path().join("folder.json")).unwrap();
    let gateway = following(&comfy, folder.path()).await;
    until(&gateway, &[("linked", 1)]).await;
    write(elsewhere.path(), "v1.txt", picture(2).to_string() + " ");
    until(&gateway, &[("linked", 2)]).await;
    std::fs::remove_file(&target).unwrap();
    until(&gateway, &[]).await;
    gateway.finish().await;
}

#[tokio::test]
async fn what_was_registered_otherwise_stays_whatever_goes_from_the_folder() {
    let (comfy, folder) = (simulator().await, tempfile::tempdir().unwrap());
    let gateway = following(&comfy, folder.path()).await;
    let url = format!("{}/workflows/mine", gateway.base);
    assert_eq!(gateway.http.put(url).json(&picture(1)).send().await.unwrap().status(), 201);
    write(folder.path(), "theirs.json", picture(2).to_string());
    until(&gateway, &[("mine", 1), ("theirs", 1)]).await;
    std::fs::remove_file(folder.path().join("theirs.json")).unwrap();
    until(&gateway, &[("mine", 1)]).await;
    gateway.finish().await;
}
