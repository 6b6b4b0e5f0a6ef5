//! A folder of workflow files: names that meet, files that are not to be read, and a folder that is away for a while.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comfy_gateway::clock::ManualClock;
use comfy_gateway::domain::time::UnixMillis;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Gateway, picture};

/// A gateway that follows a folder, looking whenever the test turns the clock.
struct Scene {
    folder: TempDir,
    clock: Arc<ManualClock>,
    gateway: Gateway,
}

impl Scene {
    /// With what is in the folder at the start.
    async fn with(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(1_800_000_000_000)));
        let path = folder.path().to_owned();
        let gateway = Gateway::on_clock(clock.clone(), &[], |settings| {
            settings.workflows = Some(path);
            settings.service.follows_folder = true;
            settings.service.max_workflow = 4_000;
        })
        .await;
        Self { folder, clock, gateway }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        write(self.folder.path(), name, text);
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    async fn all(&self) -> Vec<Value> {
        let all: Value = self.gateway.get("/workflows").await.json().await.unwrap();
        all["workflows"].as_array().unwrap().clone()
    }

    /// Turns the clock until these workflows are there in these versions.
    async fn until(&self, expected: &[(&str, u64)]) {
        let looking = async {
            loop {
                let all = self.all().await;
                let found: Vec<_> = all
                    .iter()
                    .map(|one| (one["name"].as_str().unwrap(), one["version"].as_u64().unwrap()))
                    .collect();
                if found == expected {
                    return;
                }
                self.clock.advance(Duration::from_secs(2));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looking).await.unwrap();
    }

    /// The colour that a workflow paints.
    async fn color(&self, name: &str) -> u64 {
        let found: Value = self.gateway.get(&format!("/workflows/{name}")).await.json().await.unwrap();
        found["workflow"]["1"]["inputs"]["color"].as_u64().unwrap()
    }
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[tokio::test]
async fn of_two_files_that_give_one_name_the_first_counts_while_it_is_there() {
    let scene = Scene::with(|folder| {
        write(folder, "a b.json", picture(1).to_string());
        write(folder, "a-b.json", picture(2).to_string());
        write(folder, "other.json", picture(3).to_string());
    })
    .await;
    scene.until(&[("a-b", 1), ("other", 1)]).await;
    assert_eq!(scene.color("a-b").await, 1);
    scene.remove("a b.json");
    scene.until(&[("a-b", 2), ("other", 1)]).await;
    assert_eq!(scene.color("a-b").await, 2);
    scene.gateway.finish().await;
}

#[tokio::test]
async fn what_is_no_workflow_is_left_out_until_it_is_one() {
    let scene = Scene::with(|folder| {
        write(folder, "large.json", picture(1).to_string() + &" ".repeat(4_000));
        write(folder, "binary.json", [0xff, 0xfe, 0x00]);
        write(folder, "broken.json", "{");
        write(folder, "---.json", picture(1).to_string());
        write(folder, "good.JSON", picture(1).to_string());
        std::fs::create_dir(folder.join("folder.json")).unwrap();
        write(folder, "good.json", picture(1).to_string());
    })
    .await;
    scene.until(&[("good", 1)]).await;
    for (at, name) in ["large", "binary", "broken"].into_iter().enumerate() {
        scene.write(&format!("{name}.json"), picture(u32::try_from(at).unwrap() + 10).to_string());
    }
    scene.until(&[("binary", 1), ("broken", 1), ("good", 1), ("large", 1)]).await;
    assert_eq!(scene.color("large").await, 10);
    // One that breaks later stays as it was.
    scene.write("large.json", "{");
    scene.write("new.json", picture(20).to_string());
    scene.until(&[("binary", 1), ("broken", 1), ("good", 1), ("large", 1), ("new", 1)]).await;
    assert_eq!(scene.color("large").await, 10);
    scene.gateway.finish().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_followed_and_one_that_leads_nowhere_is_none() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("v1.txt");
    std::fs::write(&target, picture(1).to_string()).unwrap();
    let scene = Scene::with(|folder| {
        std::os::unix::fs::symlink(&target, folder.join("linked.json")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("dangling.json")).unwrap();
    })
    .await;
    scene.until(&[("linked", 1)]).await;
    std::fs::write(&target, picture(2).to_string() + " ").unwrap();
    scene.until(&[("linked", 2)]).await;
    std::fs::remove_file(&target).unwrap();
    scene.until(&[]).await;
    scene.gateway.finish().await;
}

#[tokio::test]
async fn while_the_folder_is_away_nothing_is_forgotten() {
    let scene = Scene::with(|folder| write(folder, "kept.json", picture(1).to_string())).await;
    scene.until(&[("kept", 1)]).await;
    let came = scene.all().await[0]["created_at"].clone();
    let away = scene.folder.path().with_extension("away");
    std::fs::rename(scene.folder.path(), &away).unwrap();
    for _ in 0..20 {
        scene.clock.advance(Duration::from_secs(2));
        assert_eq!(scene.all().await.len(), 1);
    }
    write(&away, "new.json", picture(2).to_string());
    std::fs::rename(&away, scene.folder.path()).unwrap();
    scene.until(&[("kept", 1), ("new", 1)]).await;
    assert_eq!(scene.all().await[0]["created_at"], came);
    scene.gateway.finish().await;
}

#[tokio::test]
async fn what_was_registered_otherwise_is_no_business_of_the_folder() {
    let scene = Scene::with(|_| ()).await;
    let url = format!("{}/workflows/mine", scene.gateway.base);
    assert_eq!(scene.gateway.http.put(url).json(&picture(1)).send().await.unwrap().status(), 201);
    scene.write("theirs.json", picture(2).to_string());
    scene.until(&[("mine", 1), ("theirs", 1)]).await;
    let all = scene.all().await;
    assert_eq!((&all[0]["from_folder"], &all[1]["from_folder"]), (&false.into(), &true.into()));
    scene.remove("theirs.json");
    scene.until(&[("mine", 1)]).await;
    scene.gateway.finish().await;
}
