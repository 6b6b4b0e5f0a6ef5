//! The dispatcher's promises, one by one, on jobs and backends made up for them.

use super::*;
use crate::domain::forecast::BlockedReason;
use crate::store::QueuePlace;
use proptest::prelude::*;

const START: UnixMillis = UnixMillis::from_millis(1_000_000);

fn after(millis: u64) -> UnixMillis {
    START.plus(Duration::from_millis(millis))
}

fn id(n: u16) -> PromptId {
    let [high, low] = n.to_be_bytes();
    PromptId::from_parts(START, [high, low, 0, 0, 0, 0, 0, 0, 0, 0])
}

fn name(text: &str) -> BackendName {
    BackendName::parse(text).unwrap()
}

fn job(n: u16) -> WaitingJob {
    WaitingJob {
        place: QueuePlace { rev: i64::from(n), seq: i64::from(n) },
        prompt_id: id(n),
        priority: 0,
        caller: String::new(),
        created_at: START,
        not_before: START,
        awaits_inputs: false,
        not_on: Vec::new(),
        failed_on: None,
        needs: JobNeeds { shape: "s".to_owned(), family: "f".to_owned(), ..JobNeeds::default() },
    }
}

fn of(n: u16, caller: &str) -> WaitingJob {
    WaitingJob { caller: caller.to_owned(), ..job(n) }
}

fn with_model(n: u16, model: &str) -> WaitingJob {
    let needs = JobNeeds {
        models: vec![model.to_owned()],
        shape: format!("shape of {model}"),
        family: format!("family of {model}"),
        ..JobNeeds::default()
    };
    WaitingJob { needs, ..job(n) }
}

fn backend(n: &str) -> BackendSnapshot {
    BackendSnapshot { slots: 2, ..BackendSnapshot::absent(name(n)) }
}

fn state() -> DispatchState {
    DispatchState::new(DispatchSettings::default(), RunEstimates::default())
}

/// Lets an event happen; the claims that follow, by number and backend.
fn claims(state: &mut DispatchState, now: UnixMillis, event: DispatchEvent) -> Vec<(PromptId, String)> {
    handle(state, now, event)
        .into_iter()
        .flat_map(|action| match action {
            DispatchAction::Claim(claims) => claims,
            DispatchAction::Recall(_) => Vec::new(),
        })
        .map(|(id, backend)| (id, backend.to_string()))
        .collect()
}

fn recalls(state: &mut DispatchState, now: UnixMillis, event: DispatchEvent) -> Vec<PromptId> {
    let recalled = |action| match action {
        DispatchAction::Recall(id) => Some(id),
        DispatchAction::Claim(_) => None,
    };
    handle(state, now, event).into_iter().filter_map(recalled).collect()
}

fn backends(state: &mut DispatchState, names: &[&str]) -> Vec<(PromptId, String)> {
    claims(state, START, DispatchEvent::Backends(names.iter().map(|name| backend(name)).collect()))
}

fn took(n: u16, on: &str, millis: u64) -> DispatchEvent {
    DispatchEvent::Ended {
        id: id(n),
        backend: name(on),
        run: RunObservation::Took(Duration::from_millis(millis)),
    }
}

fn given(claims: &[(PromptId, String)]) -> Vec<(u16, &str)> {
    let number = |id: PromptId| (0..2_000).find(|n| super::tests::id(*n) == id).unwrap();
    claims.iter().map(|(id, backend)| (number(*id), backend.as_str())).collect()
}

#[test]
fn priority_goes_first_then_who_came_first() {
    let mut state = state();
    let urgent = WaitingJob { priority: 5, ..job(3) };
    claims(&mut state, START, DispatchEvent::Queued(vec![job(1), job(2), urgent]));
    assert_eq!(given(&backends(&mut state, &["a"])), [(3, "a"), (1, "a")]);
}

#[test]
fn every_server_gets_one_before_any_gets_two() {
    let mut state = state();
    backends(&mut state, &["a", "b", "c"]);
    let claimed = claims(&mut state, START, DispatchEvent::Queued((1..=4).map(job).collect()));
    assert_eq!(given(&claimed), [(1, "a"), (2, "b"), (3, "c"), (4, "a")]);
}

#[test]
fn jobs_of_others_count_as_load_and_leave_room_for_one_of_ours() {
    let mut state = state();
    let busy = BackendSnapshot { foreign: 5, ..backend("a") };
    claims(&mut state, START, DispatchEvent::Backends(vec![busy, backend("b")]));
    let claimed = claims(&mut state, START, DispatchEvent::Queued((1..=5).map(job).collect()));
    assert_eq!(given(&claimed), [(1, "b"), (2, "b"), (3, "a")]);
}

#[test]
fn the_first_job_of_one_does_not_wait_for_ten_thousand_of_another() {
    let mut state = state();
    let many = (1..=1_000).map(|n| of(n, "many")).collect();
    claims(&mut state, START, DispatchEvent::Queued(many));
    backends(&mut state, &["a"]);
    claims(&mut state, START, DispatchEvent::Queued(vec![of(1_001, "one")]));
    assert_eq!(given(&claims(&mut state, START, took(1, "a", 100))), [(1_001, "a")]);
    assert_eq!(given(&claims(&mut state, START, took(2, "a", 100))), [(3, "a")]);
}

#[test]
fn shares_are_of_run_time_and_not_of_jobs() {
    let mut times = RunEstimates::default();
    let needs = |shape: &str| JobNeeds { shape: shape.to_owned(), ..JobNeeds::default() };
    times.record_run(&needs("long"), false, Duration::from_secs(9), START);
    times.record_run(&needs("short"), false, Duration::from_secs(3), START);
    let mut state = DispatchState::new(DispatchSettings::default(), times);
    let of_shape = |n, caller: &str| WaitingJob { needs: needs(caller), ..of(n, caller) };
    let jobs = (1..=40).map(|n| of_shape(n, if n <= 20 { "long" } else { "short" })).collect();
    claims(&mut state, START, DispatchEvent::Queued(jobs));
    let one = BackendSnapshot { slots: 1, ..backend("a") };
    let mut order = given(&claims(&mut state, START, DispatchEvent::Backends(vec![one])))
        .iter()
        .map(|(n, _)| *n)
        .collect::<Vec<_>>();
    while order.len() < 16 {
        let last = *order.last().unwrap();
        let next = claims(
            &mut state,
            START,
            DispatchEvent::Ended { id: id(last), backend: name("a"), run: RunObservation::Nothing },
        );
        order.push(given(&next)[0].0);
    }
    let long = order.iter().filter(|n| **n <= 20).count();
    assert_eq!(long, 4, "three short ones for each long one: {order:?}");
}

#[test]
fn nobody_saves_up_for_a_rush() {
    let mut state = state();
    claims(&mut state, START, DispatchEvent::Queued((1..=100).map(|n| of(n, "steady")).collect()));
    backends(&mut state, &["a"]);
    for n in 1..=50 {
        claims(&mut state, START, took(n, "a", 100));
    }
    // One who comes only now has no claim to all that was served before.
    claims(&mut state, START, DispatchEvent::Queued((200..=220).map(|n| of(n, "late")).collect()));
    let mut order = Vec::new();
    for n in 51..=56 {
        let claimed = claims(
            &mut state,
            START,
            DispatchEvent::Ended { id: id(n), backend: name("a"), run: RunObservation::Nothing },
        );
        order.extend(given(&claimed).iter().map(|(n, _)| *n >= 200));
    }
    let late = order.iter().filter(|late| **late).count();
    assert!((1..=4).contains(&late), "{order:?}");
}

#[test]
fn a_server_that_has_the_models_is_preferred() {
    let mut state = state();
    backends(&mut state, &["a", "b"]);
    let first =
        claims(&mut state, START, DispatchEvent::Queued(vec![with_model(1, "x"), with_model(2, "y")]));
    assert_eq!(given(&first), [(1, "a"), (2, "b")]);
    claims(&mut state, START, took(1, "a", 1_000));
    claims(&mut state, START, took(2, "b", 1_000));
    assert_eq!(
        (state.loaded(&name("a")), state.loaded(&name("b"))),
        (vec!["x".to_owned()], vec!["y".to_owned()])
    );
    let again =
        claims(&mut state, START, DispatchEvent::Queued(vec![with_model(3, "y"), with_model(4, "x")]));
    assert_eq!(given(&again), [(4, "a"), (3, "b")]);
}

#[test]
fn nobody_waits_for_loaded_models_longer_than_the_patience() {
    let mut state = state();
    let one = || DispatchEvent::Backends(vec![BackendSnapshot { slots: 1, ..backend("a") }]);
    claims(&mut state, START, one());
    claims(&mut state, START, DispatchEvent::Queued(vec![with_model(1, "x"), with_model(2, "y")]));
    let more = (3..=200).map(|n| with_model(n, "x")).collect();
    claims(&mut state, START, DispatchEvent::Queued(more));
    let mut now = START;
    let mut last = 1;
    let mut passed = 0;
    while last != 2 {
        now = now.plus(Duration::from_secs(1));
        last = given(&claims(&mut state, now, took(last, "a", 1_000)))[0].0;
        passed += 1;
        assert!(passed < 60);
    }
    assert_eq!(passed, 31, "thirty seconds after it was first passed over");
    // And then it is the other model's turn to be kept.
    claims(&mut state, now, DispatchEvent::Queued(vec![with_model(201, "y")]));
    assert_eq!(given(&claims(&mut state, now, took(2, "a", 1_000))), [(201, "a")]);
}

#[test]
fn a_restart_forgets_what_was_loaded() {
    let mut state = state();
    backends(&mut state, &["a"]);
    claims(&mut state, START, DispatchEvent::Queued(vec![with_model(1, "x")]));
    claims(&mut state, START, took(1, "a", 1_000));
    assert_eq!(state.loaded(&name("a")), ["x"]);
    claims(&mut state, START, DispatchEvent::Backends(vec![BackendSnapshot { restarts: 1, ..backend("a") }]));
    assert!(state.loaded(&name("a")).is_empty());
}

#[test]
fn a_job_waits_for_its_models_only_where_that_is_sooner() {
    let mut times = RunEstimates::default();
    let needs = with_model(1, "x").needs;
    times.record_run(&needs, true, Duration::from_secs(6), START);
    times.record_run(&needs, false, Duration::from_secs(1), START);
    let mut state = DispatchState::new(DispatchSettings::default(), times);
    claims(&mut state, START, DispatchEvent::Backends(vec![BackendSnapshot { slots: 1, ..backend("a") }]));
    claims(&mut state, START, DispatchEvent::Queued(vec![with_model(1, "x")]));
    // The one backend that will have it loaded is through in six seconds, another could have it loaded in five.
    let both = ["a", "b"].map(|n| BackendSnapshot { slots: 1, ..backend(n) });
    claims(&mut state, START, DispatchEvent::Backends(both.to_vec()));
    assert_eq!(
        given(&claims(&mut state, START, DispatchEvent::Queued(vec![with_model(2, "x")]))),
        [(2, "b")]
    );
    // A little later it is the first that is ready sooner; so the job waits, but the backend does not wait with it.
    claims(
        &mut state,
        START,
        DispatchEvent::Ended { id: id(2), backend: name("b"), run: RunObservation::OutOfMemory },
    );
    let later = after(2_000);
    assert!(claims(&mut state, later, DispatchEvent::Queued(vec![with_model(3, "x")])).is_empty());
    assert_eq!(given(&claims(&mut state, later, DispatchEvent::Queued(vec![job(4)]))), [(4, "b")]);
    assert_eq!(given(&claims(&mut state, after(6_000), took(1, "a", 6_000))), [(3, "a")]);
}

#[test]
fn a_server_of_long_jobs_gets_its_next_one_shortly_before_it_is_needed() {
    let mut times = RunEstimates::default();
    times.record_run(&job(1).needs, false, Duration::from_mins(1), START);
    let mut state = DispatchState::new(DispatchSettings::default(), times);
    backends(&mut state, &["a"]);
    assert_eq!(given(&claims(&mut state, START, DispatchEvent::Queued(vec![job(1), job(2)]))), [(1, "a")]);
    let due = state.next_wake(START).unwrap();
    assert_eq!(due, after(50_000));
    assert!(claims(&mut state, after(49_999), DispatchEvent::Tick).is_empty());
    assert_eq!(given(&claims(&mut state, due, DispatchEvent::Tick)), [(2, "a")]);
}

#[test]
fn a_server_of_tiny_jobs_gets_several() {
    let mut times = RunEstimates::default();
    times.record_run(&job(1).needs, false, Duration::from_millis(60), START);
    let mut state = DispatchState::new(DispatchSettings::default(), times);
    let wide = BackendSnapshot { slots: 8, ..backend("a") };
    claims(&mut state, START, DispatchEvent::Backends(vec![wide]));
    let claimed = claims(&mut state, START, DispatchEvent::Queued((1..=9).map(job).collect()));
    assert_eq!(claimed.len(), 5, "as many as last a quarter of a second, and one");
    // Of jobs that are not known to be short there are two.
    let unknown = |n| WaitingJob { needs: JobNeeds::default(), ..job(n) };
    let mut state = super::tests::state();
    claims(&mut state, START, DispatchEvent::Backends(vec![BackendSnapshot { slots: 8, ..backend("a") }]));
    assert_eq!(claims(&mut state, START, DispatchEvent::Queued((1..=9).map(unknown).collect())).len(), 2);
}

#[test]
fn a_job_goes_elsewhere_than_where_it_failed_while_there_is_elsewhere() {
    let mut state = state();
    backends(&mut state, &["a", "b"]);
    let failed = |n| WaitingJob { failed_on: Some(name("a")), ..job(n) };
    let claimed = claims(&mut state, START, DispatchEvent::Queued(vec![failed(1), failed(2), failed(3)]));
    assert_eq!(given(&claimed), [(1, "b"), (2, "b")]);
    // After a while any backend is better than none.
    assert!(
        recalls(&mut state, after(2_000), DispatchEvent::Tick).is_empty(),
        "nor is it asked back for where it failed"
    );
    assert_eq!(state.next_wake(after(2_000)), Some(after(30_000)));
    assert_eq!(given(&claims(&mut state, after(30_000), DispatchEvent::Tick)), [(3, "a")]);
    let mut alone = super::tests::state();
    backends(&mut alone, &["a"]);
    assert_eq!(given(&claims(&mut alone, START, DispatchEvent::Queued(vec![failed(1)]))), [(1, "a")]);
}

#[test]
fn what_has_outgrown_a_server_goes_to_a_larger_one_from_the_first_on() {
    let mut state = state();
    let with = |n, vram| BackendSnapshot { vram: Some(vram), slots: 1, ..backend(n) };
    claims(&mut state, START, DispatchEvent::Backends(vec![with("small", 8), with("tall", 24)]));
    claims(&mut state, START, DispatchEvent::Queued(vec![job(9)]));
    claims(&mut state, START, DispatchEvent::Queued(vec![of(1, "x"), of(2, "x")]));
    let oom = DispatchEvent::Ended { id: id(9), backend: name("small"), run: RunObservation::OutOfMemory };
    assert!(claims(&mut state, START, oom).is_empty(), "one that waited already learns it, too");
    assert_eq!(given(&claims(&mut state, START, took(1, "tall", 10))), [(2, "tall")]);
    assert!(claims(&mut state, START, DispatchEvent::Queued(vec![job(3)])).is_empty());
    // Where there is no larger one, it is tried again.
    claims(&mut state, START, DispatchEvent::Backends(vec![with("small", 8)]));
    assert_eq!(given(&claims(&mut state, START, DispatchEvent::Tick)), []);
    assert_eq!(state.assigned(&name("small")), [id(3)]);
}

#[test]
fn labels_and_a_named_server_are_kept_to() {
    let mut state = state();
    let big = BackendSnapshot { labels: vec!["big".to_owned()], ..backend("b") };
    claims(&mut state, START, DispatchEvent::Backends(vec![backend("a"), big]));
    let needs = |labels: &[&str], backend: Option<&str>| JobNeeds {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        backend: backend.map(name),
        ..job(1).needs
    };
    let jobs = [
        WaitingJob { needs: needs(&["big"], None), ..job(1) },
        WaitingJob { needs: needs(&[], Some("a")), ..job(2) },
        WaitingJob { needs: needs(&["huge"], None), ..job(3) },
        WaitingJob { needs: needs(&[], Some("z")), ..job(4) },
        WaitingJob { not_on: vec![name("a"), name("b")], ..job(5) },
    ];
    let claimed = claims(&mut state, START, DispatchEvent::Queued(jobs.to_vec()));
    assert_eq!(given(&claimed), [(2, "a"), (1, "b")]);
    let blocked = |state: &DispatchState, n| state.forecast(START).of_job(id(n)).unwrap().blocked;
    assert_eq!(blocked(&state, 3), Some(BlockedReason::NoSuchLabels(vec!["huge".to_owned()])));
    assert_eq!(blocked(&state, 4), Some(BlockedReason::NoSuchBackend(name("z"))));
    assert_eq!(blocked(&state, 5), Some(BlockedReason::Unable(vec![name("a"), name("b")])));
    // A change of what backends can run lets it be tried again.
    assert_eq!(given(&claims(&mut state, START, DispatchEvent::CapabilitiesChanged)), [(5, "a")]);
    let down = |n| BackendSnapshot { slots: 0, ..backend(n) };
    claims(&mut state, START, DispatchEvent::Backends(vec![down("a")]));
    claims(&mut state, START, DispatchEvent::Queued(vec![job(6)]));
    assert_eq!(blocked(&state, 6), Some(BlockedReason::Away(vec![name("a")])));
    claims(&mut state, START, DispatchEvent::Backends(Vec::new()));
    assert_eq!(blocked(&state, 6), Some(BlockedReason::NoServers));
}

#[test]
fn a_waiting_job_is_asked_back_when_another_server_has_nothing_to_do() {
    let mut state = state();
    backends(&mut state, &["a"]);
    claims(&mut state, START, DispatchEvent::Queued(vec![job(1), job(2)]));
    let both = || DispatchEvent::Backends(vec![backend("a"), backend("b")]);
    assert!(recalls(&mut state, START, both()).is_empty(), "the first may end any moment");
    assert_eq!(state.next_wake(START), Some(after(2_000)));
    assert_eq!(recalls(&mut state, after(2_000), DispatchEvent::Tick), [id(2)]);
    assert!(recalls(&mut state, after(3_000), DispatchEvent::Tick).is_empty(), "once is enough");
    // Back in line it goes where nothing is done.
    let ended = DispatchEvent::Ended { id: id(2), backend: name("a"), run: RunObservation::Nothing };
    claims(&mut state, after(3_000), ended);
    let again = claims(&mut state, after(3_000), DispatchEvent::Queued(vec![job(2)]));
    assert_eq!(given(&again), [(2, "b")]);
}

#[test]
fn a_job_behind_somebody_elses_is_asked_back_too() {
    let mut state = state();
    let shared = || BackendSnapshot { foreign: 1, ..backend("a") };
    claims(&mut state, START, DispatchEvent::Backends(vec![shared()]));
    assert_eq!(given(&claims(&mut state, START, DispatchEvent::Queued(vec![job(1)]))), [(1, "a")]);
    assert!(recalls(&mut state, START, DispatchEvent::Backends(vec![shared(), backend("b")])).is_empty());
    assert_eq!(recalls(&mut state, after(2_000), DispatchEvent::Tick), [id(1)]);
}

#[test]
fn a_forecast_goes_by_what_earlier_runs_took() {
    let mut times = RunEstimates::default();
    times.record_run(&job(1).needs, false, Duration::from_secs(20), START);
    let mut state = DispatchState::new(DispatchSettings::default(), times);
    backends(&mut state, &["a", "b"]);
    claims(&mut state, START, DispatchEvent::Queued((1..=6).map(job).collect()));
    let told = state.forecast(after(5_000));
    let of = |n| told.of_job(id(n)).unwrap();
    assert_eq!((of(1).position, of(1).end), (None, Some(after(20_000))));
    assert_eq!((of(3).position, of(3).start, of(3).end), (Some(0), Some(after(20_000)), Some(after(40_000))));
    assert_eq!((of(6).position, of(6).start, of(6).end), (Some(3), Some(after(40_000)), Some(after(60_000))));
    assert!(told.of_job(id(7)).is_none());
}

#[test]
fn what_left_or_waits_for_files_is_not_handed_out() {
    let mut state = state();
    let awaits = WaitingJob { awaits_inputs: true, ..job(1) };
    let later = WaitingJob { not_before: after(700), ..job(2) };
    claims(&mut state, START, DispatchEvent::Queued(vec![awaits, later, job(3), job(4)]));
    claims(&mut state, START, DispatchEvent::Left(vec![id(3)]));
    assert_eq!(given(&backends(&mut state, &["a"])), [(4, "a")]);
    assert_eq!(state.next_wake(START), Some(after(700)));
    assert_eq!(given(&claims(&mut state, after(700), DispatchEvent::Tick)), [(2, "a")]);
    assert_eq!(state.waiting(), 1);
    claims(&mut state, after(700), took(4, "a", 1));
    assert_eq!(given(&claims(&mut state, after(700), DispatchEvent::Queued(vec![job(1)]))), [(1, "a")]);
}

#[test]
fn a_job_that_could_not_be_claimed_gives_its_slot_back() {
    let mut state = state();
    backends(&mut state, &["a"]);
    claims(&mut state, START, DispatchEvent::Queued(vec![job(1)]));
    claims(&mut state, START, DispatchEvent::Claimed(vec![(id(1), name("a"), false)]));
    assert!(state.assigned(&name("a")).is_empty());
    assert!(!state.is_waiting(id(1)));
}

#[test]
fn a_server_that_leaves_the_pool_keeps_its_jobs_until_they_end() {
    let mut state = state();
    backends(&mut state, &["a"]);
    claims(&mut state, START, DispatchEvent::Queued(vec![job(1)]));
    assert!(claims(&mut state, START, DispatchEvent::Backends(Vec::new())).is_empty());
    assert_eq!(state.assigned(&name("a")), [id(1)]);
    claims(&mut state, START, took(1, "a", 1));
    assert!(state.backends.is_empty());
    // Taken over before the pool has told of the backend: known by name alone.
    let adopted = DispatchEvent::Adopted { id: id(2), backend: name("b"), needs: JobNeeds::default() };
    claims(&mut state, START, adopted);
    claims(&mut state, START, DispatchEvent::Queued((3..=5).map(job).collect()));
    assert_eq!(given(&backends(&mut state, &["b"])), [(3, "b")]);
}

proptest! {
    /// Whatever waits, comes, goes and ends in whatever order: no slot is lost, none is given twice, and no
    /// backend that takes work has nothing while a job waits that any backend may run.
    #[test]
    fn no_slot_leaks_and_none_idles(steps in prop::collection::vec((0u8..5, 0usize..4, 0u16..3), 1..150)) {
        let mut state = state();
        let names = ["a", "b", "c", "d"];
        let mut open = [true; 4];
        let mut running: Vec<(PromptId, String)> = backends(&mut state, &names);
        let mut waiting = 0usize;
        for (n, (kind, which, caller)) in (1u16..).zip(steps) {
            let event = match kind {
                0 | 1 => {
                    waiting += 1;
                    DispatchEvent::Queued(vec![WaitingJob { priority: i32::from(caller), ..of(n, &caller.to_string()) }])
                }
                2 => {
                    open[which] = !open[which];
                    let view = |(at, name): (usize, &&str)| BackendSnapshot { slots: if open[at] { 2 } else { 0 }, ..backend(name) };
                    DispatchEvent::Backends(names.iter().enumerate().map(view).collect())
                }
                3 if !running.is_empty() => {
                    let (id, backend) = running.swap_remove(which % running.len());
                    DispatchEvent::Ended { id, backend: name(&backend), run: RunObservation::Took(Duration::from_millis(5)) }
                }
                _ => DispatchEvent::Tick,
            };
            let claimed = claims(&mut state, START, event);
            waiting -= claimed.len();
            running.extend(claimed);
            prop_assert_eq!(state.waiting(), waiting);
            for (at, backend) in names.iter().enumerate() {
                let given = state.assigned(&name(backend)).len();
                prop_assert_eq!(given, running.iter().filter(|(_, on)| on == backend).count());
                prop_assert!(given <= 2);
                prop_assert!(!(open[at] && given == 0 && waiting > 0), "{} idles", backend);
            }
        }
    }
}
