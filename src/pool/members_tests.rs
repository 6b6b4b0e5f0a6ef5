//! Tests of the pool and of what it announces.

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
    let shared: Arc<dyn Clock> = clock.clone();
    let random = Arc::new(Random::seeded(7));
    let id = GatewayId::from_random([1; 16]);
    (Pool::new(vec![settings("a", 1)], id, &shared, &random).unwrap(), clock)
}

#[test]
fn every_change_of_what_backends_offer_is_announced_once_and_nothing_else_is() {
    let (pool, clock) = pool();
    let a = pool.find(&BackendName::parse("a").unwrap()).unwrap();
    let mut changes = pool.changes();
    let mut expect_change = |cause: &str, expected: bool| {
        assert_eq!(changes.has_changed().unwrap(), expected, "{cause}");
        changes.mark_unchanged();
    };
    a.mark_up(SystemStats::default());
    expect_change("up", true);
    a.mark_up(SystemStats { version: Some("1".to_owned()), ..SystemStats::default() });
    a.record_run(RunOutcome::Failed);
    a.memory().set_loaded_models(vec!["x".to_owned()]);
    expect_change("facts that decide no work", false);
    a.set_mode(BackendMode::Cordoned);
    expect_change("cordoned", true);
    a.set_mode(BackendMode::Cordoned);
    expect_change("cordoned again", false);
    a.set_mode(BackendMode::Open);
    expect_change("opened", true);
    a.health().change(|facts| facts.foreign_jobs = 1);
    expect_change("foreign jobs", true);
    for _ in 0..3 {
        a.record_run(RunOutcome::BackendFault("x".to_owned()));
    }
    expect_change("breaker open", true);
    assert_eq!((a.usable_slots(), a.can_take_work()), (0, false));
    clock.advance(Duration::from_secs(10));
    a.health().change(|_| {});
    expect_change("on trial", true);
    assert_eq!((a.usable_slots(), a.settings().slots), (1, 3));
    a.record_run(RunOutcome::Completed);
    expect_change("trial passed", true);
    assert_eq!(a.usable_slots(), 3);
    a.health().quarantine("it stalls".to_owned(), AttemptId::from_random([2; 16]));
    expect_change("in quarantine", true);
    assert!(a.health().is_stuck() && !a.can_take_work());
}

#[test]
fn backends_are_found_by_name_and_a_snapshot_of_them_stays_as_it_was() {
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
    assert!(changes.has_changed().unwrap() && b.retired().is_cancelled());
    assert!(pool.remove(b.name()).is_none() && pool.find(b.name()).is_none());
}

#[test]
fn a_restart_forgets_the_loaded_models_and_refreshes_the_classes() {
    let (pool, _) = pool();
    let a = pool.backends()[0].clone();
    a.mark_up(SystemStats::default());
    for restart in [
        |a: &Backend| a.mark_restarted(),
        |a: &Backend| {
            a.health().mark_down("refused".to_owned());
            a.mark_up(SystemStats::default());
        },
    ] {
        a.memory().set_loaded_models(vec!["model".to_owned()]);
        let before = a.restart_count();
        restart(&a);
        assert!(a.memory().loaded_models().is_empty() && a.restart_count() > before);
    }
}

#[test]
fn waits_are_jittered_by_a_tenth_either_way() {
    let (pool, _) = pool();
    let a = pool.backends()[0].clone();
    let waits: Vec<Duration> = (0..100).map(|_| a.jitter(Duration::from_secs(10))).collect();
    assert!(waits.iter().all(|wait| (9_000..11_000).contains(&wait.as_millis())), "{waits:?}");
    assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
}
