//! Tests of an attempt's course: each edge of it, answer by answer.

use super::*;

const POLL: Duration = Duration::from_secs(1);

const PATIENCE: AttemptLimits = AttemptLimits {
    poll: POLL,
    lost_after: Duration::from_mins(1),
    refused_for: Duration::from_secs(3),
    interrupt_grace: Duration::from_secs(20),
    run_timeout: Duration::from_hours(1),
    stall: Duration::from_mins(10),
};

const START: UnixMillis = UnixMillis::from_millis(1_000_000);

/// A course, its clock, and what it hears.
struct MachineScene {
    course: AttemptMachine,
    now: UnixMillis,
    signals: AttemptSignals,
}

impl MachineScene {
    fn new(adopted: bool) -> Self {
        let listening_since = Some(START);
        let signals = AttemptSignals { listening_since, ..AttemptSignals::default() };
        Self { course: AttemptMachine::new(PATIENCE, adopted, START), now: START, signals }
    }

    /// One that the backend has taken.
    fn taken() -> Self {
        let mut scene = Self::new(false);
        assert_eq!(scene.step(MachineInput::Begin), NextStep::Submit);
        let NextStep::Wait(_) = scene.step(MachineInput::Submitted(SubmitOutcome::Accepted)) else {
            panic!("no wait")
        };
        scene
    }

    /// One that the backend has taken and runs, seen by a look at its queue.
    fn running() -> Self {
        let mut scene = Self::taken();
        scene.pass(Duration::from_secs(2));
        assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
        scene
    }

    fn step(&mut self, input: MachineInput) -> NextStep {
        self.course.step(self.now, &self.signals, input)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    /// Something was heard, or the wait is over: it looks, and sees that.
    fn seen(&mut self, sighting: RunSighting) -> NextStep {
        let next = self.step(MachineInput::Woke);
        assert!(matches!(next, NextStep::Look | NextStep::Glance), "{next:?}");
        self.step(MachineInput::Seen(sighting))
    }

    /// Looks and sees the same until something else than a wait follows; how long that took.
    fn until_decided(&mut self, sighting: RunSighting) -> (NextStep, Duration) {
        let since = self.now;
        while self.now.since(since) < Duration::from_hours(1) {
            match self.seen(sighting) {
                NextStep::Wait(wait) => self.pass(wait),
                next => return (next, self.now.since(since)),
            }
        }
        panic!("it waits for ever")
    }

    /// It has been given up: it is withdrawn, looked for once more, and that is seen.
    fn last_look(&mut self, sighting: RunSighting) -> NextStep {
        assert_eq!(self.step(MachineInput::Asked), NextStep::Look);
        self.step(MachineInput::Seen(sighting))
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

const fn ended(early: Option<EarlyEnd>) -> NextStep {
    NextStep::End(AttemptEnd::InHistory(early))
}

const fn lost(cause: RequeueCause) -> NextStep {
    NextStep::End(AttemptEnd::Requeue(cause))
}

fn in_doubt() -> MachineScene {
    let mut scene = MachineScene::new(false);
    assert_eq!(scene.step(MachineInput::Begin), NextStep::Submit);
    assert_eq!(scene.step(MachineInput::Submitted(SubmitOutcome::Unclear)), NextStep::Look);
    scene
}

#[test]
fn a_run_is_submitted_heard_and_found_in_the_history() {
    let mut scene = MachineScene::taken();
    scene.hear();
    scene.pass(POLL);
    scene.end_is_heard();
    assert_eq!(scene.step(MachineInput::Woke), NextStep::Glance, "the queue is not asked for what is heard");
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Ended)), ended(None));
}

#[test]
fn what_did_not_reach_the_server_never_ran() {
    let mut scene = MachineScene::new(false);
    assert_eq!(scene.step(MachineInput::Begin), NextStep::Submit);
    let next = scene.step(MachineInput::Submitted(SubmitOutcome::NotDelivered));
    assert_eq!(next, NextStep::End(AttemptEnd::Requeue(RequeueCause::Unreachable)));
    let mut scene = MachineScene::new(false);
    assert_eq!(
        scene.step(MachineInput::Submitted(SubmitOutcome::TurnedAway)),
        lost(RequeueCause::NotAccepted)
    );
}

#[test]
fn a_submit_in_doubt_that_arrived_is_watched() {
    for sighting in [RunSighting::Pending, RunSighting::Running] {
        let mut scene = in_doubt();
        assert_eq!(scene.step(MachineInput::Seen(sighting)), NextStep::Wait(POLL));
        scene.end_is_heard();
        assert_eq!(scene.seen(RunSighting::Ended), ended(None));
    }
    assert_eq!(
        in_doubt().step(MachineInput::Seen(RunSighting::Ended)),
        ended(None),
        "it may be over already"
    );
}

#[test]
fn a_submit_in_doubt_that_never_arrived_is_withdrawn_and_looked_for_once_more() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Absent)), NextStep::Wait(POLL / 2));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 2));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Withdraw, "it must not begin later");
    assert_eq!(scene.last_look(RunSighting::Absent), lost(RequeueCause::NotAccepted));
}

#[test]
fn a_submit_in_doubt_that_shows_late_starts_with_no_misses() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Absent)), NextStep::Wait(POLL / 2));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 2));
    let NextStep::Wait(_) = scene.seen(RunSighting::Pending) else { panic!("it is there") };
    let NextStep::Wait(_) = scene.seen(RunSighting::Absent) else { panic!("one miss is none") };
    assert_eq!(scene.seen(RunSighting::Ended), ended(None));
}

#[test]
fn a_submit_in_doubt_that_was_heard_of_has_arrived() {
    let mut scene = in_doubt();
    scene.hear();
    for _ in 0..DOUBTFUL_MISSES {
        // Only the history was too slow: the queue is asked before it.
        let next = scene.step(MachineInput::Seen(RunSighting::Unreachable));
        assert!(matches!(next, NextStep::Wait(_)), "{next:?}");
        assert_eq!(scene.step(MachineInput::Woke), NextStep::Glance);
    }
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Ended)), ended(None));
}

#[test]
fn what_a_submit_in_doubt_was_missed_before_it_was_heard_of_does_not_count() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Absent)), NextStep::Wait(POLL / 2));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 2));
    scene.hear();
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL), "one miss is none");
    assert_eq!(scene.seen(RunSighting::Ended), ended(None));
}

#[test]
fn nothing_hurries_the_looks_for_a_submit_in_doubt() {
    let mut scene = in_doubt();
    (scene.signals.cancelled, scene.signals.recalled) = (true, true);
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Absent)), NextStep::Wait(POLL / 2));
    assert!(!scene.course.is_open_to_cancel() && !scene.course.is_open_to_recall());
    // Once it is found the cancel has all the time it needs.
    scene.pass(PATIENCE.interrupt_grace);
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
    assert!(scene.course.is_open_to_cancel());
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Interrupt);
}

#[test]
fn in_doubt_a_refusal_is_not_taken_for_all_the_silence_before() {
    let mut scene = in_doubt();
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Unreachable)), NextStep::Wait(POLL / 2));
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.seen(RunSighting::Refused), NextStep::Wait(POLL / 2), "a proxy may refuse once");
    let (next, took) = scene.until_decided(RunSighting::Refused);
    assert_eq!((next, took), (NextStep::Withdraw, PATIENCE.refused_for));
    assert_eq!(scene.last_look(RunSighting::Refused), lost(RequeueCause::NotAccepted));
}

#[test]
fn in_doubt_silence_is_waited_out() {
    let mut scene = in_doubt();
    let (next, took) = scene.until_decided(RunSighting::Unreachable);
    assert_eq!((next, took), (NextStep::Withdraw, PATIENCE.lost_after));
    assert_eq!(scene.last_look(RunSighting::Running), NextStep::Wait(POLL), "it came back, with the run");
    assert_eq!(scene.seen(RunSighting::Ended), ended(None));
}

#[test]
fn a_server_that_refuses_in_mid_job_has_lost_the_run_that_ran() {
    let mut scene = MachineScene::running();
    let (next, took) = scene.until_decided(RunSighting::Refused);
    assert_eq!(next, NextStep::Withdraw);
    assert!(took >= PATIENCE.refused_for && took < PATIENCE.refused_for + POLL, "{took:?}");
    assert_eq!(scene.last_look(RunSighting::Refused), lost(RequeueCause::WentAway { crashed: true }));
}

#[test]
fn a_run_that_only_waited_did_not_bring_its_server_down() {
    let mut scene = MachineScene::taken();
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL), "the history alone tells nothing");
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.seen(RunSighting::Pending), NextStep::Wait(POLL));
    assert_eq!(scene.until_decided(RunSighting::Refused).0, NextStep::Withdraw);
    assert_eq!(scene.last_look(RunSighting::Refused), lost(RequeueCause::WentAway { crashed: false }));
}

#[test]
fn a_run_that_was_over_did_not_bring_its_server_down() {
    let mut scene = MachineScene::running();
    scene.end_is_heard();
    assert_eq!(scene.until_decided(RunSighting::Refused).0, NextStep::Withdraw);
    assert_eq!(scene.last_look(RunSighting::Refused), lost(RequeueCause::WentAway { crashed: false }));
}

#[test]
fn a_server_that_answers_in_between_is_given_all_the_time_again() {
    let mut scene = MachineScene::running();
    for sighting in [RunSighting::Refused, RunSighting::Unreachable] {
        let NextStep::Wait(_) = scene.seen(sighting) else { panic!("at once") };
        scene.pass(Duration::from_millis(2_999));
        assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
    }
    let (_, took) = scene.until_decided(RunSighting::Unreachable);
    assert_eq!(took, PATIENCE.lost_after);
}

#[test]
fn refusals_among_other_silence_do_not_prolong_it() {
    let mut scene = MachineScene::running();
    let since = scene.now;
    loop {
        match scene.seen(RunSighting::Unreachable) {
            NextStep::Wait(wait) => scene.pass(wait),
            next => break assert_eq!(next, NextStep::Withdraw),
        }
        let NextStep::Wait(wait) = scene.seen(RunSighting::Refused) else { break };
        scene.pass(wait);
    }
    assert!(scene.now.since(since) < PATIENCE.lost_after + 2 * POLL);
    assert_eq!(scene.last_look(RunSighting::Unreachable), lost(RequeueCause::OutOfReach));
}

#[test]
fn a_partition_that_heals_at_the_last_look_loses_nothing() {
    for (seen, next) in [
        (RunSighting::Running, NextStep::Wait(POLL)),
        (RunSighting::Pending, NextStep::Wait(POLL)),
        (RunSighting::Ended, ended(None)),
    ] {
        let mut scene = MachineScene::running();
        assert_eq!(scene.until_decided(RunSighting::Unreachable).0, NextStep::Withdraw);
        assert_eq!(scene.last_look(seen), next);
        if seen == RunSighting::Running {
            let (again, took) = scene.until_decided(RunSighting::Unreachable);
            assert_eq!((again, took), (NextStep::Withdraw, PATIENCE.lost_after), "it is watched as before");
        }
    }
}

#[test]
fn a_run_that_vanished_is_missed_twice_before_it_is_forgotten() {
    let mut scene = MachineScene::running();
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL));
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL), "two in a row");
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Withdraw);
    assert_eq!(scene.last_look(RunSighting::Absent), lost(RequeueCause::Forgotten { crashed: true }));
}

#[test]
fn a_history_that_is_later_than_the_end_is_waited_for() {
    let mut scene = MachineScene::taken();
    scene.hear();
    scene.end_is_heard();
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(scene.step(MachineInput::Woke), NextStep::Glance);
        let NextStep::Wait(wait) = scene.step(MachineInput::Seen(RunSighting::Absent)) else {
            panic!("given up")
        };
        assert!(!scene.course.is_waiting_for_end(), "hearing it again would be no news");
        scene.pass(wait);
        waits.push(wait.as_millis());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_000], "soon at first, then as ever");
    // After so long the queue is asked, too.
    assert_eq!(scene.step(MachineInput::Woke), NextStep::Look);
    assert_eq!(scene.step(MachineInput::Seen(RunSighting::Running)), NextStep::Wait(POLL));
    assert_eq!(scene.seen(RunSighting::Ended), ended(None));
}

#[path = "machine_early_tests.rs"]
mod early;

mod stalled {
    //! Without progress.

    use super::*;

    /// Lets time pass in steps of a minute, in which it is seen running, up to what else follows.
    fn minutes(scene: &mut MachineScene) -> (NextStep, u64) {
        for minute in 0.. {
            let sighting = match scene.step(MachineInput::Woke) {
                NextStep::Look => RunSighting::Running,
                NextStep::Glance => RunSighting::Absent,
                next => return (next, minute),
            };
            match scene.step(MachineInput::Seen(sighting)) {
                NextStep::Wait(_) => scene.pass(Duration::from_mins(1)),
                next => return (next, minute),
            }
        }
        unreachable!()
    }

    #[test]
    fn at_half_the_time_another_websocket_is_opened_and_at_its_end_the_run_is_interrupted() {
        let mut scene = MachineScene::running();
        assert_eq!(minutes(&mut scene), (NextStep::Relisten, 5));
        // The new one stands since now: that is no progress.
        scene.signals.listening_since = Some(scene.now);
        let NextStep::Wait(_) = scene.step(MachineInput::Asked) else { panic!("no wait") };
        assert_eq!(minutes(&mut scene), (NextStep::Interrupt, 5));
        assert_eq!(scene.seen(RunSighting::Ended), ended(Some(EarlyEnd::Stall)));
    }

    #[test]
    fn a_run_that_cannot_be_heard_does_not_stall() {
        let mut scene = MachineScene::running();
        scene.signals.listening_since = None;
        for _ in 0..40 {
            scene.pass(Duration::from_mins(1));
            assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
        }
        // Silence counts from when it can be heard again.
        scene.signals.listening_since = Some(scene.now);
        assert_eq!(minutes(&mut scene), (NextStep::Relisten, 5));
    }

    #[test]
    fn whatever_is_heard_is_progress() {
        let mut scene = MachineScene::running();
        for _ in 0..10 {
            scene.hear();
            scene.pass((PATIENCE.stall / 2).saturating_sub(POLL));
            assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
        }
    }

    #[test]
    fn one_that_was_heard_through_a_new_websocket_may_be_silent_as_long_again() {
        let mut scene = MachineScene::running();
        assert_eq!(minutes(&mut scene), (NextStep::Relisten, 5));
        scene.pass(Duration::from_secs(1));
        scene.hear();
        assert_eq!(minutes(&mut scene), (NextStep::Relisten, 5));
        // A websocket that was lost for hours could tell nothing meanwhile.
        scene.pass(Duration::from_secs(1));
        scene.hear();
        scene.pass(Duration::from_mins(30));
        scene.signals.listening_since = Some(scene.now);
        assert_eq!(minutes(&mut scene), (NextStep::Relisten, 5));
    }

    #[test]
    fn one_that_waits_does_not_stall() {
        let mut scene = MachineScene::taken();
        for _ in 0..40 {
            scene.pass(Duration::from_mins(1));
            assert_eq!(scene.seen(RunSighting::Pending), NextStep::Wait(POLL));
        }
    }
}

mod wanted_back {
    //! A run that another backend could take.

    use super::*;

    fn wanted(mut scene: MachineScene) -> MachineScene {
        assert!(scene.course.is_open_to_recall());
        scene.signals.recalled = true;
        scene
    }

    #[test]
    fn one_that_waits_is_withdrawn_and_proved_gone() {
        let mut scene = wanted(MachineScene::taken());
        assert_eq!(scene.step(MachineInput::Woke), NextStep::Look, "only the queue tells");
        assert_eq!(scene.step(MachineInput::Seen(RunSighting::Pending)), NextStep::Withdraw);
        assert!(!scene.course.is_open_to_recall());
        assert_eq!(scene.step(MachineInput::Asked), NextStep::Wait(POLL / 4));
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 4));
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::Withdraw);
        assert_eq!(
            scene.last_look(RunSighting::Absent),
            NextStep::End(AttemptEnd::Requeue(RequeueCause::Recalled))
        );
    }

    #[test]
    fn one_that_runs_is_left_to_run() {
        let mut scene = wanted(MachineScene::running());
        assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
        scene.hear();
        assert_eq!(scene.step(MachineInput::Woke), NextStep::Glance, "the queue is not asked for it again");
        assert_eq!(scene.step(MachineInput::Seen(RunSighting::Absent)), NextStep::Wait(POLL));
        scene.end_is_heard();
        assert_eq!(scene.seen(RunSighting::Ended), ended(None));
    }

    #[test]
    fn one_that_begins_before_it_is_withdrawn_runs_on_and_may_be_lost_like_any_other() {
        let mut scene = wanted(MachineScene::taken());
        assert_eq!(scene.seen(RunSighting::Pending), NextStep::Withdraw);
        assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
        scene.pass(SILENCE);
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL));
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::Withdraw);
        assert_eq!(scene.last_look(RunSighting::Absent), lost(RequeueCause::Forgotten { crashed: true }));
    }

    #[test]
    fn one_that_is_over_already_is_taken_as_it_is() {
        let mut scene = wanted(MachineScene::taken());
        assert_eq!(scene.seen(RunSighting::Ended), ended(None));
        let mut scene = wanted(MachineScene::taken());
        assert_eq!(scene.seen(RunSighting::Pending), NextStep::Withdraw);
        assert_eq!(scene.seen(RunSighting::Ended), ended(None));
    }

    #[test]
    fn one_whose_withdrawal_nobody_heard_may_run_when_the_server_is_back() {
        let mut scene = wanted(MachineScene::taken());
        assert_eq!(scene.seen(RunSighting::Pending), NextStep::Withdraw);
        assert_eq!(scene.until_decided(RunSighting::Unreachable).0, NextStep::Withdraw);
        assert_eq!(scene.last_look(RunSighting::Running), NextStep::Wait(POLL));
        assert_eq!(scene.seen(RunSighting::Ended), ended(None));
    }

    #[test]
    fn a_cancel_comes_before_it() {
        let mut scene = wanted(MachineScene::taken());
        scene.signals.cancelled = true;
        assert_eq!(scene.seen(RunSighting::Pending), NextStep::Withdraw);
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 4));
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::End(AttemptEnd::Gone(EarlyEnd::Cancel)));
    }
}

mod adopted {
    //! Taken over from another process.

    use super::*;

    /// It looks at once, and sees that.
    fn at_once(sighting: RunSighting) -> (MachineScene, NextStep) {
        let mut scene = MachineScene::new(true);
        assert_eq!(scene.step(MachineInput::Begin), NextStep::Look);
        let next = scene.step(MachineInput::Seen(sighting));
        (scene, next)
    }

    #[test]
    fn one_that_was_never_submitted_has_cost_nothing() {
        let (mut scene, next) = at_once(RunSighting::Absent);
        assert_eq!(next, NextStep::Wait(POLL));
        assert_eq!(scene.step(MachineInput::Woke), NextStep::Look);
        assert_eq!(
            scene.step(MachineInput::Seen(RunSighting::Absent)),
            NextStep::Wait(POLL),
            "it may be on its way"
        );
        assert_eq!(scene.seen(RunSighting::Absent), NextStep::Withdraw);
        assert_eq!(
            scene.last_look(RunSighting::Absent),
            NextStep::End(AttemptEnd::Requeue(RequeueCause::NeverSubmitted))
        );
    }

    #[test]
    fn one_that_the_server_has_is_watched_and_lost_like_any_other() {
        let (mut scene, next) = at_once(RunSighting::Pending);
        assert_eq!(next, NextStep::Wait(POLL));
        scene.pass(POLL);
        assert_eq!(scene.until_decided(RunSighting::Absent).0, NextStep::Withdraw);
        assert_eq!(scene.last_look(RunSighting::Absent), lost(RequeueCause::Forgotten { crashed: false }));
    }

    #[test]
    fn one_that_ended_meanwhile_is_taken_as_it_is() {
        assert_eq!(at_once(RunSighting::Ended).1, ended(None));
    }

    #[test]
    fn one_whose_server_does_not_answer_may_have_run() {
        let (mut scene, next) = at_once(RunSighting::Unreachable);
        assert_eq!(next, NextStep::Wait(POLL));
        assert_eq!(scene.until_decided(RunSighting::Unreachable).0, NextStep::Withdraw);
        assert_eq!(scene.last_look(RunSighting::Unreachable), lost(RequeueCause::OutOfReach));
    }

    #[test]
    fn one_whose_server_is_gone_has_cost_nothing() {
        let (mut scene, _) = at_once(RunSighting::Refused);
        assert_eq!(scene.until_decided(RunSighting::Refused).0, NextStep::Withdraw);
        assert_eq!(
            scene.last_look(RunSighting::Refused),
            NextStep::End(AttemptEnd::Requeue(RequeueCause::NeverSubmitted))
        );
    }
}
