//! Tests of an attempt's course: each edge of it, answer by answer.

use super::*;

const POLL: Duration = Duration::from_secs(1);

const PATIENCE: Patience = Patience {
    poll: POLL,
    lost_after: Duration::from_mins(1),
    refused_for: Duration::from_secs(3),
    interrupt_grace: Duration::from_secs(20),
    run_timeout: Duration::from_hours(1),
    stall: Duration::from_mins(10),
};

const START: UnixMillis = UnixMillis::from_millis(1_000_000);

/// A course, its clock, and what it hears.
struct Scene {
    course: Course,
    now: UnixMillis,
    signals: Signals,
}

impl Scene {
    fn new(adopted: bool) -> Self {
        let listening_since = Some(START);
        let signals = Signals { listening_since, ..Signals::default() };
        Self { course: Course::new(PATIENCE, adopted, START), now: START, signals }
    }

    /// One that the server has taken.
    fn taken() -> Self {
        let mut scene = Self::new(false);
        assert_eq!(scene.step(Input::Begin), Next::Submit);
        let Next::Wait(_) = scene.step(Input::Submitted(Delivery::Accepted)) else { panic!("no wait") };
        scene
    }

    /// One that the server has taken and runs, seen by a look at its queue.
    fn running() -> Self {
        let mut scene = Self::taken();
        scene.pass(Duration::from_secs(2));
        assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
        scene
    }

    fn step(&mut self, input: Input) -> Next {
        self.course.step(self.now, &self.signals, input)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Something was heard, or the wait is over: it looks, and sees that.
    fn seen(&mut self, sighting: Sighting) -> Next {
        let next = self.step(Input::Woke);
        assert!(matches!(next, Next::Look | Next::Glance), "{next:?}");
        self.step(Input::Seen(sighting))
    }

    /// Looks and sees the same until something else than a wait follows; how long that took.
    fn until_decided(&mut self, sighting: Sighting) -> (Next, Duration) {
        let since = self.now;
        while self.now.since(since) < Duration::from_hours(1) {
            match self.seen(sighting) {
                Next::Wait(wait) => self.pass(wait),
                next => return (next, self.now.since(since)),
            }
        }
        panic!("it waits for ever")
    }

    /// It has been given up: it is withdrawn, looked for once more, and that is seen.
    fn last_look(&mut self, sighting: Sighting) -> Next {
        assert_eq!(self.step(Input::Asked), Next::Look);
        self.step(Input::Seen(sighting))
    }

    fn hear(&mut self) {
        self.signals.started_at.get_or_insert(self.now);
        self.signals.heard_at = Some(self.now);
    }

    fn end_is_heard(&mut self) {
        self.hear();
        self.signals.end_heard = true;
    }
}

const fn ended(early: Option<EarlyEnd>) -> Next {
    Next::End(End::InHistory(early))
}

const fn lost(loss: Loss) -> Next {
    Next::End(End::Lost(loss))
}

fn in_doubt() -> Scene {
    let mut scene = Scene::new(false);
    assert_eq!(scene.step(Input::Begin), Next::Submit);
    assert_eq!(scene.step(Input::Submitted(Delivery::Unclear)), Next::Look);
    scene
}

#[test]
fn a_run_is_submitted_heard_and_found_in_the_history() {
    let mut scene = Scene::taken();
    scene.hear();
    scene.pass(POLL);
    scene.end_is_heard();
    assert_eq!(scene.step(Input::Woke), Next::Glance, "the queue is not asked for what is heard");
    assert_eq!(scene.step(Input::Seen(Sighting::Ended)), ended(None));
}

#[test]
fn what_did_not_reach_the_server_never_ran() {
    let mut scene = Scene::new(false);
    assert_eq!(scene.step(Input::Begin), Next::Submit);
    let next = scene.step(Input::Submitted(Delivery::NotDelivered));
    assert_eq!(next, Next::End(End::NotRun(NotRun::Unreachable)));
    let mut scene = Scene::new(false);
    assert_eq!(scene.step(Input::Submitted(Delivery::TurnedAway)), lost(Loss::NotTaken));
}

#[test]
fn a_submit_in_doubt_that_arrived_is_watched() {
    for sighting in [Sighting::Pending, Sighting::Running] {
        let mut scene = in_doubt();
        assert_eq!(scene.step(Input::Seen(sighting)), Next::Wait(POLL));
        scene.end_is_heard();
        assert_eq!(scene.seen(Sighting::Ended), ended(None));
    }
    assert_eq!(in_doubt().step(Input::Seen(Sighting::Ended)), ended(None), "it may be over already");
}

#[test]
fn a_submit_in_doubt_that_never_arrived_is_withdrawn_and_looked_for_once_more() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(Input::Seen(Sighting::Absent)), Next::Wait(POLL / 2));
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL / 2));
    assert_eq!(scene.seen(Sighting::Absent), Next::Withdraw, "it must not begin later");
    assert_eq!(scene.last_look(Sighting::Absent), lost(Loss::NotTaken));
}

#[test]
fn a_submit_in_doubt_that_shows_late_starts_with_no_misses() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(Input::Seen(Sighting::Absent)), Next::Wait(POLL / 2));
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL / 2));
    let Next::Wait(_) = scene.seen(Sighting::Pending) else { panic!("it is there") };
    let Next::Wait(_) = scene.seen(Sighting::Absent) else { panic!("one miss is none") };
    assert_eq!(scene.seen(Sighting::Ended), ended(None));
}

#[test]
fn a_submit_in_doubt_that_was_heard_of_has_arrived() {
    let mut scene = in_doubt();
    scene.hear();
    for _ in 0..DOUBTFUL_MISSES {
        // Only the history was too slow: the queue is asked before it.
        let next = scene.step(Input::Seen(Sighting::Unreachable));
        assert!(matches!(next, Next::Wait(_)), "{next:?}");
        assert_eq!(scene.step(Input::Woke), Next::Glance);
    }
    assert_eq!(scene.step(Input::Seen(Sighting::Ended)), ended(None));
}

#[test]
fn what_a_submit_in_doubt_was_missed_before_it_was_heard_of_does_not_count() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(Input::Seen(Sighting::Absent)), Next::Wait(POLL / 2));
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL / 2));
    scene.hear();
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL), "one miss is none");
    assert_eq!(scene.seen(Sighting::Ended), ended(None));
}

#[test]
fn nothing_hurries_the_looks_for_a_submit_in_doubt() {
    let mut scene = in_doubt();
    (scene.signals.cancelled, scene.signals.wanted_back) = (true, true);
    assert_eq!(scene.step(Input::Seen(Sighting::Absent)), Next::Wait(POLL / 2));
    assert!(!scene.course.listens_for_cancel() && !scene.course.listens_for_recall());
    // Once it is found the cancel has all the time it needs.
    scene.pass(PATIENCE.interrupt_grace);
    assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
    assert!(scene.course.listens_for_cancel());
    assert_eq!(scene.seen(Sighting::Running), Next::Interrupt);
}

#[test]
fn in_doubt_a_refusal_is_not_taken_for_all_the_silence_before() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(Input::Seen(Sighting::Unreachable)), Next::Wait(POLL / 2));
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.seen(Sighting::Refused), Next::Wait(POLL / 2), "a proxy may refuse once");
    let (next, took) = scene.until_decided(Sighting::Refused);
    assert_eq!((next, took), (Next::Withdraw, PATIENCE.refused_for));
    assert_eq!(scene.last_look(Sighting::Refused), lost(Loss::NotTaken));
}

#[test]
fn in_doubt_silence_is_waited_out() {
    let mut scene = in_doubt();
    let (next, took) = scene.until_decided(Sighting::Unreachable);
    assert_eq!((next, took), (Next::Withdraw, PATIENCE.lost_after));
    assert_eq!(scene.last_look(Sighting::Running), Next::Wait(POLL), "it came back, with the run");
    assert_eq!(scene.seen(Sighting::Ended), ended(None));
}

#[test]
fn a_server_that_refuses_in_mid_job_has_lost_the_run_that_ran() {
    let mut scene = Scene::running();
    let (next, took) = scene.until_decided(Sighting::Refused);
    assert_eq!(next, Next::Withdraw);
    assert!(took >= PATIENCE.refused_for && took < PATIENCE.refused_for + POLL, "{took:?}");
    assert_eq!(scene.last_look(Sighting::Refused), lost(Loss::WentAway { running: true }));
}

#[test]
fn a_run_that_only_waited_did_not_bring_its_server_down() {
    let mut scene = Scene::taken();
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL), "the history alone tells nothing");
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.seen(Sighting::Pending), Next::Wait(POLL));
    assert_eq!(scene.until_decided(Sighting::Refused).0, Next::Withdraw);
    assert_eq!(scene.last_look(Sighting::Refused), lost(Loss::WentAway { running: false }));
}

#[test]
fn a_run_that_was_over_did_not_bring_its_server_down() {
    let mut scene = Scene::running();
    scene.end_is_heard();
    assert_eq!(scene.until_decided(Sighting::Refused).0, Next::Withdraw);
    assert_eq!(scene.last_look(Sighting::Refused), lost(Loss::WentAway { running: false }));
}

#[test]
fn a_server_that_answers_in_between_is_given_all_the_time_again() {
    let mut scene = Scene::running();
    for sighting in [Sighting::Refused, Sighting::Unreachable] {
        let Next::Wait(_) = scene.seen(sighting) else { panic!("at once") };
        scene.pass(Duration::from_millis(2_999));
        assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
    }
    let (_, took) = scene.until_decided(Sighting::Unreachable);
    assert_eq!(took, PATIENCE.lost_after);
}

#[test]
fn refusals_among_other_silence_do_not_prolong_it() {
    let mut scene = Scene::running();
    let since = scene.now;
    loop {
        match scene.seen(Sighting::Unreachable) {
            Next::Wait(wait) => scene.pass(wait),
            next => break assert_eq!(next, Next::Withdraw),
        }
        let Next::Wait(wait) = scene.seen(Sighting::Refused) else { break };
        scene.pass(wait);
    }
    assert!(scene.now.since(since) < PATIENCE.lost_after + 2 * POLL);
    assert_eq!(scene.last_look(Sighting::Unreachable), lost(Loss::OutOfReach));
}

#[test]
fn a_partition_that_heals_at_the_last_look_loses_nothing() {
    for (seen, next) in [
        (Sighting::Running, Next::Wait(POLL)),
        (Sighting::Pending, Next::Wait(POLL)),
        (Sighting::Ended, ended(None)),
    ] {
        let mut scene = Scene::running();
        assert_eq!(scene.until_decided(Sighting::Unreachable).0, Next::Withdraw);
        assert_eq!(scene.last_look(seen), next);
        if seen == Sighting::Running {
            let (again, took) = scene.until_decided(Sighting::Unreachable);
            assert_eq!((again, took), (Next::Withdraw, PATIENCE.lost_after), "it is watched as before");
        }
    }
}

#[test]
fn a_run_that_vanished_is_missed_twice_before_it_is_forgotten() {
    let mut scene = Scene::running();
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL));
    assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL), "two in a row");
    assert_eq!(scene.seen(Sighting::Absent), Next::Withdraw);
    assert_eq!(scene.last_look(Sighting::Absent), lost(Loss::Forgotten { running: true }));
}

#[test]
fn a_history_that_is_later_than_the_end_is_waited_for() {
    let mut scene = Scene::taken();
    scene.hear();
    scene.end_is_heard();
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(scene.step(Input::Woke), Next::Glance);
        let Next::Wait(wait) = scene.step(Input::Seen(Sighting::Absent)) else { panic!("given up") };
        assert!(!scene.course.listens_for_end(), "hearing it again would be no news");
        scene.pass(wait);
        waits.push(wait.as_millis());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_000], "soon at first, then as ever");
    // After so long the queue is asked, too.
    assert_eq!(scene.step(Input::Woke), Next::Look);
    assert_eq!(scene.step(Input::Seen(Sighting::Running)), Next::Wait(POLL));
    assert_eq!(scene.seen(Sighting::Ended), ended(None));
}

#[path = "machine_early_tests.rs"]
mod early;

mod stalled {
    //! Without progress.

    use super::*;

    /// Lets time pass in steps of a minute, in which it is seen running, up to what else follows.
    fn minutes(scene: &mut Scene) -> (Next, u64) {
        for minute in 0.. {
            let sighting = match scene.step(Input::Woke) {
                Next::Look => Sighting::Running,
                Next::Glance => Sighting::Absent,
                next => return (next, minute),
            };
            match scene.step(Input::Seen(sighting)) {
                Next::Wait(_) => scene.pass(Duration::from_mins(1)),
                next => return (next, minute),
            }
        }
        unreachable!()
    }

    #[test]
    fn at_half_the_time_another_websocket_is_opened_and_at_its_end_the_run_is_interrupted() {
        let mut scene = Scene::running();
        assert_eq!(minutes(&mut scene), (Next::Relisten, 5));
        // The new one stands since now: that is no progress.
        scene.signals.listening_since = Some(scene.now);
        let Next::Wait(_) = scene.step(Input::Asked) else { panic!("no wait") };
        assert_eq!(minutes(&mut scene), (Next::Interrupt, 5));
        assert_eq!(scene.seen(Sighting::Ended), ended(Some(EarlyEnd::Stall)));
    }

    #[test]
    fn a_run_that_cannot_be_heard_does_not_stall() {
        let mut scene = Scene::running();
        scene.signals.listening_since = None;
        for _ in 0..40 {
            scene.pass(Duration::from_mins(1));
            assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
        }
        // Silence counts from when it can be heard again.
        scene.signals.listening_since = Some(scene.now);
        assert_eq!(minutes(&mut scene), (Next::Relisten, 5));
    }

    #[test]
    fn whatever_is_heard_is_progress() {
        let mut scene = Scene::running();
        for _ in 0..10 {
            scene.hear();
            scene.pass((PATIENCE.stall / 2).saturating_sub(POLL));
            assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
        }
    }

    #[test]
    fn one_that_was_heard_through_a_new_websocket_may_be_silent_as_long_again() {
        let mut scene = Scene::running();
        assert_eq!(minutes(&mut scene), (Next::Relisten, 5));
        scene.pass(Duration::from_secs(1));
        scene.hear();
        assert_eq!(minutes(&mut scene), (Next::Relisten, 5));
        // A websocket that was lost for hours could tell nothing meanwhile.
        scene.pass(Duration::from_secs(1));
        scene.hear();
        scene.pass(Duration::from_mins(30));
        scene.signals.listening_since = Some(scene.now);
        assert_eq!(minutes(&mut scene), (Next::Relisten, 5));
    }

    #[test]
    fn one_that_waits_does_not_stall() {
        let mut scene = Scene::taken();
        for _ in 0..40 {
            scene.pass(Duration::from_mins(1));
            assert_eq!(scene.seen(Sighting::Pending), Next::Wait(POLL));
        }
    }
}

mod wanted_back {
    //! A run that another server could take.

    use super::*;

    fn wanted(mut scene: Scene) -> Scene {
        assert!(scene.course.listens_for_recall());
        scene.signals.wanted_back = true;
        scene
    }

    #[test]
    fn one_that_waits_is_withdrawn_and_proved_gone() {
        let mut scene = wanted(Scene::taken());
        assert_eq!(scene.step(Input::Woke), Next::Look, "only the queue tells");
        assert_eq!(scene.step(Input::Seen(Sighting::Pending)), Next::Withdraw);
        assert!(!scene.course.listens_for_recall());
        assert_eq!(scene.step(Input::Asked), Next::Wait(POLL / 4));
        assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL / 4));
        assert_eq!(scene.seen(Sighting::Absent), Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Absent), Next::End(End::NotRun(NotRun::Recalled)));
    }

    #[test]
    fn one_that_runs_is_left_to_run() {
        let mut scene = wanted(Scene::running());
        assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
        scene.hear();
        assert_eq!(scene.step(Input::Woke), Next::Glance, "the queue is not asked for it again");
        assert_eq!(scene.step(Input::Seen(Sighting::Absent)), Next::Wait(POLL));
        scene.end_is_heard();
        assert_eq!(scene.seen(Sighting::Ended), ended(None));
    }

    #[test]
    fn one_that_begins_before_it_is_withdrawn_runs_on_and_may_be_lost_like_any_other() {
        let mut scene = wanted(Scene::taken());
        assert_eq!(scene.seen(Sighting::Pending), Next::Withdraw);
        assert_eq!(scene.seen(Sighting::Running), Next::Wait(POLL));
        scene.pass(SILENCE);
        assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL));
        assert_eq!(scene.seen(Sighting::Absent), Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Absent), lost(Loss::Forgotten { running: true }));
    }

    #[test]
    fn one_that_is_over_already_is_taken_as_it_is() {
        let mut scene = wanted(Scene::taken());
        assert_eq!(scene.seen(Sighting::Ended), ended(None));
        let mut scene = wanted(Scene::taken());
        assert_eq!(scene.seen(Sighting::Pending), Next::Withdraw);
        assert_eq!(scene.seen(Sighting::Ended), ended(None));
    }

    #[test]
    fn one_whose_withdrawal_nobody_heard_may_run_when_the_server_is_back() {
        let mut scene = wanted(Scene::taken());
        assert_eq!(scene.seen(Sighting::Pending), Next::Withdraw);
        assert_eq!(scene.until_decided(Sighting::Unreachable).0, Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Running), Next::Wait(POLL));
        assert_eq!(scene.seen(Sighting::Ended), ended(None));
    }

    #[test]
    fn a_cancel_comes_before_it() {
        let mut scene = wanted(Scene::taken());
        scene.signals.cancelled = true;
        assert_eq!(scene.seen(Sighting::Pending), Next::Withdraw);
        assert_eq!(scene.seen(Sighting::Absent), Next::Wait(POLL / 4));
        assert_eq!(scene.seen(Sighting::Absent), Next::End(End::Gone(EarlyEnd::Cancel)));
    }
}

mod adopted {
    //! Taken over from another process.

    use super::*;

    /// It looks at once, and sees that.
    fn at_once(sighting: Sighting) -> (Scene, Next) {
        let mut scene = Scene::new(true);
        assert_eq!(scene.step(Input::Begin), Next::Look);
        let next = scene.step(Input::Seen(sighting));
        (scene, next)
    }

    #[test]
    fn one_that_was_never_submitted_has_cost_nothing() {
        let (mut scene, next) = at_once(Sighting::Absent);
        assert_eq!(next, Next::Wait(POLL));
        assert_eq!(scene.step(Input::Woke), Next::Look);
        assert_eq!(scene.step(Input::Seen(Sighting::Absent)), Next::Wait(POLL), "it may be on its way");
        assert_eq!(scene.seen(Sighting::Absent), Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Absent), Next::End(End::NotRun(NotRun::NeverArrived)));
    }

    #[test]
    fn one_that_the_server_has_is_watched_and_lost_like_any_other() {
        let (mut scene, next) = at_once(Sighting::Pending);
        assert_eq!(next, Next::Wait(POLL));
        scene.pass(POLL);
        assert_eq!(scene.until_decided(Sighting::Absent).0, Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Absent), lost(Loss::Forgotten { running: false }));
    }

    #[test]
    fn one_that_ended_meanwhile_is_taken_as_it_is() {
        assert_eq!(at_once(Sighting::Ended).1, ended(None));
    }

    #[test]
    fn one_whose_server_does_not_answer_may_have_run() {
        let (mut scene, next) = at_once(Sighting::Unreachable);
        assert_eq!(next, Next::Wait(POLL));
        assert_eq!(scene.until_decided(Sighting::Unreachable).0, Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Unreachable), lost(Loss::OutOfReach));
    }

    #[test]
    fn one_whose_server_is_gone_has_cost_nothing() {
        let (mut scene, _) = at_once(Sighting::Refused);
        assert_eq!(scene.until_decided(Sighting::Refused).0, Next::Withdraw);
        assert_eq!(scene.last_look(Sighting::Refused), Next::End(End::NotRun(NotRun::NeverArrived)));
    }
}
