//! The composition root: assembles the gateway's parts, runs them, and stops them in the right order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use url::Url;

use crate::api::offload::ParseThreads;
use crate::api::router;
use crate::api::server::{MinimumPace, ServerSettings, serve};
use crate::api::state::{ApiLimits, ApiState};
use crate::clock::Clock;
use crate::comfy::EndpointError;
use crate::config::GatewayConfig;
use crate::core::GatewayCore;
use crate::data_dir::{DataDir, DataDirError};
use crate::domain::workflow::WorkflowLimits;
use crate::fetch::{AddressGuard, AllowList, FetcherError, UrlFetcher};
use crate::hub::JobHub;
use crate::lifecycle::{TaskCrash, TaskOwner};
use crate::media::{FsMediaStore, MediaError};
use crate::metrics::Metrics;
use crate::pool::{BackendSettings, Pool};
use crate::random::Random;
use crate::scheduler::{DispatcherTask, SchedulerContext, SchedulerSettings, SweepError, sweep_orphans};
use crate::service::{BackendError, Service, SubmissionLimits, WorkflowFolder, restore_backends};
use crate::store::sqlite::{BatchObserver, SqliteStore};
use crate::store::{JobStore, StoreError};

/// The settings of one gateway process.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// The directory of the database and the media files.
    pub data_dir: PathBuf,
    /// Bytes that stay free on the disks of the database and the media files.
    pub disk_reserve: u64,
    /// The gateway's address as clients see it; `None` takes the request's own host.
    pub public_url: Option<Url>,
    /// The configured ComfyUI backends.
    pub backends: Vec<BackendSettings>,
    /// A folder of workflow files to register and to follow.
    pub workflows: Option<PathBuf>,
    /// How attempts, retries and leases behave.
    pub scheduler: SchedulerSettings,
    /// How long ended jobs are kept; `None` keeps them until they are deleted.
    pub retention: Option<Duration>,
    /// The limits of submissions.
    pub service: SubmissionLimits,
    /// Hosts and networks that inputs may be fetched from although they are not public.
    pub fetch_allow: AllowList,
    /// The limits of requests.
    pub api: ApiLimits,
    /// How connections are served.
    pub server: ServerSettings,
}

/// The longest that a JSON body may take to arrive. Files may take as long as they keep coming.
const BODY_TIMEOUT: Duration = Duration::from_mins(10);

impl From<GatewayConfig> for AppSettings {
    fn from(config: GatewayConfig) -> Self {
        let (inputs, scheduler) = (config.inputs(), config.scheduler());
        let settings = config.settings;
        Self {
            data_dir: settings.data_dir,
            disk_reserve: settings.disk_reserve as u64,
            public_url: settings.public_url,
            backends: config.backends,
            scheduler,
            retention: settings.retention,
            service: SubmissionLimits {
                max_queued: settings.max_queued,
                default_timeout: settings.default_timeout,
                max_file: settings.max_file as u64,
                max_inputs: settings.max_inputs,
                allow_backend_paths: settings.allow_backend_paths,
                workflow: WorkflowLimits { nodes: settings.max_nodes, params: settings.max_params },
                max_workflow: settings.max_body as u64,
                expose_tracebacks: settings.expose_tracebacks,
                follows_folder: settings.workflows.is_some(),
                file_retention: settings.retention,
            },
            workflows: settings.workflows,
            fetch_allow: inputs.allow,
            api: ApiLimits {
                max_body: settings.max_body,
                max_values: settings.max_values,
                max_params: settings.max_params,
                body_timeout: BODY_TIMEOUT,
                max_timeout: settings.max_timeout,
                max_wait: settings.max_wait,
            },
            server: ServerSettings {
                max_connections: settings.max_connections,
                header_timeout: settings.header_timeout,
                keep_alive: settings.keep_alive,
                pace: MinimumPace {
                    window: settings.transfer_timeout,
                    bytes: settings.transfer_minimum as u64,
                },
                drain_timeout: settings.drain_timeout,
            },
        }
    }
}

/// Why a gateway did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The media store cannot be used.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// A backend's address or credentials cannot be used.
    #[error(transparent)]
    Backend(#[from] EndpointError),
    /// The HTTP client for inputs cannot be built.
    #[error(transparent)]
    Fetcher(#[from] FetcherError),
    /// Orphaned files could not be removed.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The listener's address is unknown.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] std::io::Error),
    /// A task of the gateway crashed while it ran.
    #[error(transparent)]
    Crash(#[from] TaskCrash),
}

/// Changes the configured backends of a running gateway.
#[derive(Debug)]
pub struct ConfiguredBackends {
    service: Arc<Service>,
    workers: TaskOwner,
}

impl ConfiguredBackends {
    /// Replaces the configured backends. A backend that is removed and has jobs is drained first, in the
    /// background.
    ///
    /// # Errors
    /// A backend clashes with one that was added at run time; nothing was changed.
    pub fn configure(&self, backends: Vec<BackendSettings>) -> Result<(), BackendError> {
        self.service.configure_backends(backends)?;
        let service = self.service.clone();
        self.workers.spawn("configured backends", async move { service.apply_backends().await });
        Ok(())
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    service: Arc<Service>,
    store: Arc<SqliteStore>,
    /// The tasks that use the store.
    workers: TaskOwner,
    /// The store's own task, which ends last.
    store_tasks: TaskOwner,
    /// The lock on the data directory, held while the process uses it.
    _data_dir: DataDir,
}

impl App {
    /// Starts a gateway that answers on `listener`.
    ///
    /// # Errors
    /// See [`AppError`]. No task is left running then.
    pub async fn start(
        settings: AppSettings,
        listener: TcpListener,
        clock: Arc<dyn Clock>,
        random: Arc<Random>,
    ) -> Result<Self, AppError> {
        let address = listener.local_addr()?;
        let data_dir = DataDir::open(&settings.data_dir)?;
        let metrics = Arc::new(Metrics::new());
        let store_tasks = TaskOwner::default();
        let observer: BatchObserver = {
            let metrics = metrics.clone();
            Arc::new(move |writes| metrics.batch(writes))
        };
        let (fresh_id, ids) = (random.gateway_id(), random.clone());
        let reserve = settings.disk_reserve;
        let path = data_dir.database();
        let store = SqliteStore::open(&path, fresh_id, &store_tasks, observer, reserve).await?;
        let store = Arc::new(store);
        let media = Arc::new(FsMediaStore::open(data_dir.media(), reserve).await?);
        let pool = Arc::new(Pool::new(settings.backends, store.gateway_id(), &clock, &random)?);
        let core = Arc::new(GatewayCore {
            store: store.clone(),
            media,
            fetcher: UrlFetcher::new(AddressGuard::new(settings.fetch_allow), clock.clone())?,
            pool: pool.clone(),
            hub: Arc::new(JobHub::default()),
            clock: clock.clone(),
            random: random.clone(),
            metrics: metrics.clone(),
            retention: settings.retention,
        });
        let swept = sweep_orphans(&core).await?;
        if swept > 0 {
            tracing::info!(jobs = swept, "files that belonged to no job were removed");
        }
        restore_backends(&core).await?;
        let workers = TaskOwner::default();
        pool.watch(&workers);
        let owner = random.lease_owner();
        let context = SchedulerContext { core: core.clone(), settings: settings.scheduler, owner };
        DispatcherTask::start(Arc::new(context), &workers);
        let service = Arc::new(Service::new(core, settings.service, workers.stopping()));
        if let Some(folder) = settings.workflows {
            let follow = WorkflowFolder::new(folder).follow(service.clone(), workers.stopping());
            workers.spawn("workflow files", follow);
        }
        let state = ApiState {
            service: service.clone(),
            limits: settings.api,
            offload: ParseThreads::default(),
            public_url: settings.public_url,
            clock: clock.clone(),
            random,
            metrics,
        };
        let server = serve(listener, router(state), settings.server, clock, ids, workers.stopping());
        workers.spawn("http server", server);
        tracing::info!(%address, "comfy-gateway is listening");
        Ok(Self { address, service, store, workers, store_tasks, _data_dir: data_dir })
    }

    /// The address that the gateway listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle that changes the configured backends.
    #[must_use]
    pub fn servers(&self) -> ConfiguredBackends {
        ConfiguredBackends { service: self.service.clone(), workers: self.workers.clone() }
    }

    /// Runs until `shutdown`, or until a task crashes. Then it stops: it claims no more jobs, finishes the
    /// answers under way, leaves running jobs to the next start, and closes the database.
    ///
    /// # Errors
    /// The crash of a task, if there was one.
    pub async fn run_until_stopped(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        tokio::select! {
            () = shutdown => tracing::info!("stopping"),
            () = self.workers.stopping().cancelled_owned() => {}
            () = self.store_tasks.stopping().cancelled_owned() => {}
        }
        self.workers.stop();
        let workers = self.workers.stopped().await;
        self.store.close().await;
        self.store_tasks.stopped().await?;
        Ok(workers?)
    }
}
