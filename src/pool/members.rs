//! The ComfyUI servers: whether each is usable, what it works on, and what its websocket tells.
//! It must not know of the store, of leases, or of who may run what.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use futures_util::future::join_all;

use tokio::sync::watch;

use super::backend::{Backend, PoolShared};
use super::settings::{BackendClash, BackendSettings};
use super::tasks::{events, probe, refresh};
use crate::clock::Clock;
use crate::comfy::EndpointError;
use crate::domain::id::{BackendName, GatewayId};
use crate::domain::object_info::ObjectInfo;
use crate::lifecycle::TaskOwner;
use crate::lock::RwLockExt;
use crate::random::Random;

/// All servers: those of the configuration in its order, then those added later.
#[derive(Debug)]
pub struct Pool {
    backends: RwLock<Arc<[Arc<Backend>]>>,
    shared: PoolShared,
    /// Where the servers are watched, once they are.
    tasks: OnceLock<TaskOwner>,
}

/// Why a server cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It clashes with another.
    #[error(transparent)]
    Clash(#[from] BackendClash),
    /// Its address or credentials cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Pool {
    /// A pool of the configured servers; nothing is asked of them yet. ComfyUI knows the gateway by `gateway_id`;
    /// `random` gives jitter.
    ///
    /// # Errors
    /// A server's address or credentials cannot be used.
    pub fn new(
        settings: Vec<BackendSettings>,
        gateway_id: GatewayId,
        clock: &Arc<dyn Clock>,
        random: &Arc<Random>,
    ) -> Result<Self, EndpointError> {
        let shared = PoolShared {
            gateway_id,
            clock: clock.clone(),
            random: random.clone(),
            catalogue: Arc::default(),
            changes: watch::Sender::new(0),
        };
        let backends = settings
            .into_iter()
            .map(|settings| Backend::new(settings, true, shared.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { backends: RwLock::new(backends), shared, tasks: OnceLock::new() })
    }

    /// Watches every server on `tasks` until they stop, those that are added later too. To be called once.
    pub fn watch(&self, tasks: &TaskOwner) {
        // Under the lock, so that a server that is just being added is watched once.
        let backends = self.backends.write_anyway();
        let tasks = self.tasks.get_or_init(|| tasks.clone());
        backends.iter().for_each(|backend| watch_one(backend, tasks));
    }

    /// Adds a server and watches it, if the others are watched.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn add(&self, settings: BackendSettings) -> Result<Arc<Backend>, AddError> {
        self.add_one(settings, false)
    }

    /// The same for a server that has come to the configuration.
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn add_configured(&self, settings: BackendSettings) -> Result<Arc<Backend>, AddError> {
        self.add_one(settings, true)
    }

    fn add_one(&self, settings: BackendSettings, configured: bool) -> Result<Arc<Backend>, AddError> {
        let backend = {
            let mut backends = self.backends.write_anyway();
            settings.fits_beside(backends.iter().map(|backend| backend.settings()))?;
            let backend = Arc::new(Backend::new(settings, configured, self.shared.clone())?);
            *backends = backends.iter().chain([&backend]).cloned().collect();
            if let Some(tasks) = self.tasks.get() {
                watch_one(&backend, tasks);
            }
            backend
        };
        // Another server may have had that name, and jobs that it could not run.
        self.shared.catalogue.has_changed();
        self.has_changed();
        Ok(backend)
    }

    /// Takes a server out of the pool and ends its tasks; `None` if there is none of that name. Runs that are watched
    /// there go on being watched by their attempts.
    pub fn remove(&self, name: &BackendName) -> Option<Arc<Backend>> {
        let removed = {
            let mut backends = self.backends.write_anyway();
            let removed = backends.iter().find(|backend| backend.name() == name)?.clone();
            *backends = backends.iter().filter(|backend| backend.name() != name).cloned().collect();
            removed
        };
        removed.retired.cancel();
        self.has_changed();
        Some(removed)
    }

    /// The servers at this moment.
    #[must_use]
    pub fn backends(&self) -> Arc<[Arc<Backend>]> {
        self.backends.read_anyway().clone()
    }

    /// The server of that name.
    #[must_use]
    pub fn find(&self, name: &BackendName) -> Option<Arc<Backend>> {
        self.backends().iter().find(|backend| backend.name() == name).cloned()
    }

    /// The node classes of every server that has told them, in the servers' order.
    #[must_use]
    pub fn object_infos(&self) -> Vec<Arc<ObjectInfo>> {
        let mut all: Vec<Arc<ObjectInfo>> = Vec::new();
        for info in self.backends().iter().filter_map(|backend| backend.object_info()) {
            if !all.iter().any(|known| Arc::ptr_eq(known, &info)) {
                all.push(info);
            }
        }
        all
    }

    /// Asks every usable server anew what it can run, unless that is younger than `age`. Those that do not answer keep
    /// what is known of them.
    pub async fn refresh_object_infos(&self, age: Duration) {
        let backends = self.backends();
        let asked = backends.iter().filter(|backend| backend.is_usable());
        for answer in join_all(asked.map(|backend| backend.refresh_object_info(age))).await {
            if let Err(error) = answer {
                tracing::debug!(%error, "a server did not tell what it can run");
            }
        }
    }

    /// Changes whenever what a server can run does.
    #[must_use]
    pub fn capability_changes(&self) -> watch::Receiver<u64> {
        self.shared.catalogue.changes()
    }

    /// Changes whenever a server is added or removed, or what it offers does: its usability, its mode, its slots, the
    /// load that others put on it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn has_changed(&self) {
        self.shared.changes.send_modify(|generation| *generation += 1);
    }
}

fn watch_one(backend: &Arc<Backend>, tasks: &TaskOwner) {
    watch_by(backend, tasks, "backend health", probe::health(backend.clone()));
    watch_by(backend, tasks, "backend capabilities", refresh::capabilities(backend.clone()));
    watch_by(backend, tasks, "backend events", events::events(backend.clone()));
}

/// Runs one of a server's tasks until the process stops or the server is removed.
fn watch_by(
    backend: &Backend,
    tasks: &TaskOwner,
    name: &'static str,
    task: impl Future<Output = Infallible> + Send + 'static,
) {
    let (stopping, retired) = (tasks.stopping(), backend.retired.clone());
    tasks.spawn(name, async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = retired.cancelled() => {}
            never = task => match never {},
        }
        Ok::<(), Infallible>(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::comfy::{ComfyEndpoint, SystemStats};
    use crate::domain::id::AttemptId;
    use crate::domain::mode::BackendMode;
    use crate::domain::time::UnixMillis;
    use crate::pool::health::totals::RunOutcome;

    fn settings(name: &str, port: u16) -> BackendSettings {
        let url = format!("http://127.0.0.1:{port}").parse().unwrap();
        BackendSettings {
            name: BackendName::parse(name).unwrap(),
            endpoint: ComfyEndpoint::new(url),
            slots: 3,
            labels: Vec::new(),
        }
    }

    fn pool() -> (Pool, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(UnixMillis::from_millis(1_000_000)));
        let handed_in: Arc<dyn Clock> = clock.clone();
        let random = Arc::new(Random::seeded(7));
        let id = GatewayId::from_random([1; 16]);
        (Pool::new(vec![settings("a", 1)], id, &handed_in, &random).unwrap(), clock)
    }

    #[test]
    fn every_change_of_what_servers_offer_is_told_once_and_nothing_else_is() {
        let (pool, clock) = pool();
        let a = pool.find(&BackendName::parse("a").unwrap()).unwrap();
        let mut changes = pool.changes();
        let mut told = |what: &str| {
            let told = changes.has_changed().unwrap();
            changes.mark_unchanged();
            (what.to_owned(), told)
        };
        let expect = |(what, told): (String, bool), expected: bool| assert_eq!(told, expected, "{what}");
        a.is_up(SystemStats::default());
        expect(told("up"), true);
        a.is_up(SystemStats { version: Some("1".to_owned()), ..SystemStats::default() });
        a.report(RunOutcome::Failed);
        a.set_loaded(vec!["x".to_owned()]);
        expect(told("what nobody gives work by"), false);
        a.set_mode(BackendMode::Cordoned);
        expect(told("cordoned"), true);
        a.set_mode(BackendMode::Cordoned);
        expect(told("cordoned again"), false);
        a.set_mode(BackendMode::Open);
        expect(told("opened"), true);
        a.note(|facts| facts.standing.foreign = 1);
        expect(told("load of others"), true);
        for _ in 0..3 {
            a.report(RunOutcome::ServerFault("x".to_owned()));
        }
        expect(told("out of work"), true);
        assert_eq!((a.slots_now(), a.takes_work()), (0, false));
        clock.advance(Duration::from_secs(10));
        a.note(|_| {});
        expect(told("on trial"), true);
        assert_eq!((a.slots_now(), a.slots()), (1, 3));
        a.report(RunOutcome::Completed);
        expect(told("as it was"), true);
        assert_eq!(a.slots_now(), 3);
        a.quarantine("it stalls".to_owned(), AttemptId::from_random([2; 16]));
        expect(told("in quarantine"), true);
        assert!(a.is_stuck() && !a.takes_work());
    }

    #[test]
    fn servers_are_found_by_name_and_a_view_of_them_stays_as_it_was() {
        let (pool, _) = pool();
        let mut changes = pool.changes();
        let before = pool.backends();
        let b = pool.add(settings("b", 2)).unwrap();
        assert!(changes.has_changed().unwrap() && !b.is_configured() && before[0].is_configured());
        changes.mark_unchanged();
        for clash in [settings("b", 3), settings("c", 2)] {
            assert!(matches!(pool.add(clash), Err(AddError::Clash(_))));
        }
        assert!(!changes.has_changed().unwrap());
        let names = |backends: &[Arc<Backend>]| -> Vec<String> {
            backends.iter().map(|backend| backend.name().to_string()).collect()
        };
        assert_eq!(
            (names(&before), names(&pool.backends())),
            (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert!(pool.remove(b.name()).is_some_and(|removed| Arc::ptr_eq(&removed, &b)));
        assert!(changes.has_changed().unwrap() && b.retired.is_cancelled());
        assert!(pool.remove(b.name()).is_none() && pool.find(b.name()).is_none());
    }

    #[test]
    fn a_restart_forgets_what_was_loaded_and_asks_for_the_classes_again() {
        let (pool, _) = pool();
        let a = pool.backends()[0].clone();
        a.is_up(SystemStats::default());
        for restarts in [
            |a: &Backend| a.found_restarted(),
            |a: &Backend| {
                a.is_down("refused".to_owned());
                a.is_up(SystemStats::default());
            },
        ] {
            a.set_loaded(vec!["model".to_owned()]);
            let before = a.restart_count();
            restarts(&a);
            assert!(a.loaded().is_empty() && a.restart_count() > before);
        }
    }

    #[test]
    fn waits_are_jittered_by_a_tenth_either_way() {
        let (pool, _) = pool();
        let a = pool.backends()[0].clone();
        let waits: Vec<Duration> = (0..100).map(|_| a.jittered(Duration::from_secs(10))).collect();
        assert!(waits.iter().all(|wait| (9_000..11_000).contains(&wait.as_millis())), "{waits:?}");
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
