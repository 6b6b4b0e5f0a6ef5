//! Keeps registered workflows in step with a folder of workflow files. Each JSON file is registered under its
//! file name, a changed file becomes a new version, and a removed file unregisters its workflow. The folder
//! is polled, because mounted folders do not report changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::fs;
use tokio_util::sync::CancellationToken;

use super::state::Service;
use super::workflows::NewRegistration;
use crate::domain::registered::WorkflowName;
use crate::store::{RegistrationOutcome, StoreError};

/// The time between two scans of the folder.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// Modification time and length, which identify a state of a file.
type FileStamp = (SystemTime, u64);

/// A folder of workflow files, and the results of earlier scans.
#[derive(Debug, Default)]
pub struct WorkflowFolder {
    path: PathBuf,
    /// The state in which each file was last registered, or rejected for a fault of its own.
    settled: BTreeMap<PathBuf, FileStamp>,
    /// Faults that were logged already, by path.
    reported: BTreeMap<PathBuf, String>,
}

impl WorkflowFolder {
    /// The folder at `path`, not scanned yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// Scans the folder regularly until `stopping` is cancelled.
    ///
    /// # Errors
    /// None: a failed scan is logged and repeated.
    pub async fn follow(
        mut self,
        service: Arc<Service>,
        stopping: CancellationToken,
    ) -> Result<(), StoreError> {
        loop {
            self.scan(&service).await;
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = service.core.clock.sleep(SCAN_INTERVAL) => {}
            }
        }
    }

    /// Scans the folder once: registers new and changed files, and unregisters the workflows of removed files.
    pub async fn scan(&mut self, service: &Service) {
        let files = match list(&self.path).await {
            Ok(files) => files,
            Err(error) => {
                let path = self.path.clone();
                return self.report(&path, format!("the folder cannot be read: {error}"));
            }
        };
        self.reported.remove(&self.path);
        let mut names = BTreeSet::new();
        for (path, stamp) in &files {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(WorkflowName::of_file);
            let Some(name) = name else {
                self.report(path, "its file name is not a valid workflow name".to_owned());
                continue;
            };
            if !names.insert(name.clone()) {
                self.report(path, format!("another file has the same workflow name, {name}"));
            } else if self.settled.get(path) != Some(stamp) {
                self.register(service, path, *stamp, name).await;
            }
        }
        self.settled.retain(|path, _| files.contains_key(path));
        self.reported.retain(|path, _| files.contains_key(path) || *path == self.path);
        if let Err(error) = unregister_missing(service, &names).await {
            tracing::error!(%error, "could not unregister workflows whose files were removed; trying again");
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
            Err(why) => return self.report(path, why),
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
                        tracing::warn!(workflow = %name, node_id, reason, "a workflow file was converted with a warning");
                    }
                }
                self.settled.insert(path.to_owned(), stamp);
                self.reported.remove(path);
            }
            Err(error) => {
                if error.is_workflow_fault() {
                    self.settled.insert(path.to_owned(), stamp);
                }
                self.report(path, error.first_fault());
            }
        }
    }

    /// Logs a fault, once until it changes.
    fn report(&mut self, path: &Path, why: String) {
        if self.reported.get(path) != Some(&why) {
            tracing::warn!(path = %path.display(), why, "a workflow file was not registered");
            self.reported.insert(path.to_owned(), why);
        }
    }
}

/// Lists the JSON files of a folder and their states, by path.
async fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, FileStamp>> {
    let mut found = BTreeMap::new();
    let mut entries = fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            // Symbolic links are followed. A file that was removed since the listing is skipped.
            let Ok(meta) = fs::metadata(&path).await else { continue };
            if meta.is_file() {
                found.insert(path, (meta.modified()?, meta.len()));
            }
        }
    }
    Ok(found)
}

/// Unregisters the workflows that were loaded from the folder and whose files are gone.
async fn unregister_missing(service: &Service, names: &BTreeSet<WorkflowName>) -> Result<(), StoreError> {
    for workflow in service.workflows().await? {
        if workflow.from_folder && !names.contains(&workflow.name) {
            service.core.store.delete_workflow(&workflow.name).await?;
            tracing::info!(workflow = %workflow.name, "a workflow was unregistered because its file was removed");
        }
    }
    Ok(())
}
