//! A folder of workflow files, followed: each JSON file is registered under its name, changes are new versions, and a
//! file that goes takes its workflow with it. Looks, rather than listens: mounted folders tell nothing of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::fs;
use tokio_util::sync::CancellationToken;

use super::{NewRegistration, Service};
use crate::domain::registered::WorkflowName;
use crate::store::{RegistrationOutcome, StoreError};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// What tells one state of a file from another.
type FileStamp = (SystemTime, u64);

/// What the looks before this one found.
#[derive(Debug, Default)]
pub struct WorkflowFolder {
    path: PathBuf,
    /// The state in which each file was last registered or refused for good.
    settled: BTreeMap<PathBuf, FileStamp>,
    /// Faults that were told already.
    told: BTreeMap<PathBuf, String>,
}

impl WorkflowFolder {
    /// The folder at `path`, of which nothing is known yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// Follows it until `stopping`.
    ///
    /// # Errors
    /// Never; what fails is told in the log and tried again.
    pub async fn follow(
        mut self,
        service: Arc<Service>,
        stopping: CancellationToken,
    ) -> Result<(), StoreError> {
        loop {
            self.look(&service).await;
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = service.core.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Looks once: registers what is new or changed, forgets what is gone.
    pub async fn look(&mut self, service: &Service) {
        let files = match list(&self.path).await {
            Ok(files) => files,
            Err(error) => {
                let path = self.path.clone();
                return self.tell(&path, format!("the folder cannot be read: {error}"));
            }
        };
        self.told.remove(&self.path);
        let mut names = BTreeSet::new();
        for (path, stamp) in &files {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(WorkflowName::of_file);
            let Some(name) = name else {
                self.tell(path, "its name gives no workflow's name".to_owned());
                continue;
            };
            if !names.insert(name.clone()) {
                self.tell(path, format!("another file is the workflow {name}, too"));
            } else if self.settled.get(path) != Some(stamp) {
                self.register(service, path, *stamp, name).await;
            }
        }
        self.settled.retain(|path, _| files.contains_key(path));
        self.told.retain(|path, _| files.contains_key(path) || *path == self.path);
        if let Err(error) = forget(service, &names).await {
            tracing::error!(%error, "workflows whose files are gone could not be forgotten; trying again");
        }
    }

    async fn register(&mut self, service: &Service, path: &Path, stamp: FileStamp, name: WorkflowName) {
        let limit = service.limits().max_workflow;
        let text = if stamp.1 > limit {
            Err(format!("it is larger than {limit} bytes"))
        } else {
            fs::read_to_string(path).await.map_err(|error| format!("it cannot be read: {error}"))
        };
        let text = match text {
            Ok(text) => text,
            Err(why) => return self.tell(path, why),
        };
        let new = NewRegistration {
            name: name.clone(),
            title: None,
            description: None,
            text: &text,
            from_folder: true,
        };
        match service.register(new).await {
            Ok((registered, warnings)) => {
                if let RegistrationOutcome::New(version) = registered {
                    tracing::info!(workflow = %name, version, "a workflow file was registered");
                    for warning in warnings {
                        let (node_id, reason) = (warning.node_id, warning.message);
                        tracing::warn!(workflow = %name, node_id, reason, "a workflow file may not run as it was meant");
                    }
                }
                self.settled.insert(path.to_owned(), stamp);
                self.told.remove(path);
            }
            Err(error) => {
                if error.is_the_workflows() {
                    self.settled.insert(path.to_owned(), stamp);
                }
                self.tell(path, error.in_words());
            }
        }
    }

    /// Tells a fault once.
    fn tell(&mut self, path: &Path, why: String) {
        if self.told.get(path) != Some(&why) {
            tracing::warn!(path = %path.display(), why, "a workflow file is not registered");
            self.told.insert(path.to_owned(), why);
        }
    }
}

/// The JSON files and their states, by path.
async fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
    let mut found = BTreeMap::new();
    let mut entries = fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            // A link's own target counts; one that is just going is not there.
            let Ok(meta) = fs::metadata(&path).await else { continue };
            if meta.is_file() {
                found.insert(path, (meta.modified()?, meta.len()));
            }
        }
    }
    Ok(found)
}

/// Forgets workflows that came from files of which none is left.
async fn forget(service: &Service, names: &BTreeSet<WorkflowName>) -> Result<(), StoreError> {
    for workflow in service.workflows().await? {
        if workflow.from_folder && !names.contains(&workflow.name) {
            service.core.store.delete_workflow(&workflow.name).await?;
            tracing::info!(workflow = %workflow.name, "a workflow is forgotten with its file");
        }
    }
    Ok(())
}
