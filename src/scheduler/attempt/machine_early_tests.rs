//! Tests of courses that are ended before their time.

use super::*;

#[test]
fn a_cancel_takes_a_waiting_run_out_of_the_queue() {
    let mut scene = MachineScene::taken();
    scene.signals.cancelled = true;
    assert!(scene.course.is_open_to_cancel());
    assert_eq!(scene.seen(RunSighting::Pending), NextStep::Withdraw);
    assert!(!scene.course.is_open_to_cancel());
    assert_eq!(scene.step(MachineInput::Asked), NextStep::Wait(POLL / 4));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 4));
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::End(AttemptEnd::Gone(EarlyEnd::Cancel)));
}

#[test]
fn what_was_accepted_only_in_part_is_withdrawn_at_once_or_interrupted() {
    let in_part = || {
        let mut scene = MachineScene::new(false);
        assert_eq!(scene.step(MachineInput::Begin), NextStep::Submit);
        assert_eq!(scene.step(MachineInput::Submitted(SubmitOutcome::InPart)), NextStep::Withdraw);
        assert_eq!(scene.step(MachineInput::Asked), NextStep::Wait(POLL / 4));
        scene
    };
    let mut waiting = in_part();
    assert_eq!(waiting.seen(RunSighting::Absent), NextStep::Wait(POLL / 4));
    assert_eq!(waiting.seen(RunSighting::Absent), NextStep::End(AttemptEnd::Gone(EarlyEnd::InPart)));
    let mut running = in_part();
    assert_eq!(running.seen(RunSighting::Running), NextStep::Interrupt);
    assert_eq!(running.seen(RunSighting::Ended), ended(Some(EarlyEnd::InPart)));
    assert_eq!(in_part().seen(RunSighting::Ended), ended(Some(EarlyEnd::InPart)));
}

#[test]
fn a_cancel_interrupts_a_run_until_it_is_in_the_history() {
    let mut scene = MachineScene::running();
    scene.signals.cancelled = true;
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Interrupt);
    assert_eq!(scene.step(MachineInput::Asked), NextStep::Wait(POLL / 4));
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL / 4), "not so soon again");
    scene.pass(INTERRUPT_AGAIN);
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Interrupt);
    assert_eq!(scene.seen(RunSighting::Ended), ended(Some(EarlyEnd::Cancel)));
}

#[test]
fn a_run_that_begins_between_the_look_and_the_withdrawal_is_interrupted() {
    let mut scene = MachineScene::taken();
    scene.signals.cancelled = true;
    assert_eq!(scene.seen(RunSighting::Pending), NextStep::Withdraw);
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Interrupt);
}

#[test]
fn a_cancel_that_comes_while_nothing_answers_ends_with_the_patience() {
    let mut scene = MachineScene::running();
    scene.signals.cancelled = true;
    let (next, took) = scene.until_decided(RunSighting::Refused);
    assert_eq!(next, NextStep::End(AttemptEnd::Gone(EarlyEnd::Cancel)));
    assert!(took < PATIENCE.refused_for + POLL);
}

#[test]
fn a_cancel_of_a_run_that_is_over_changes_nothing() {
    let mut scene = MachineScene::running();
    scene.signals.cancelled = true;
    assert_eq!(scene.seen(RunSighting::Ended), ended(Some(EarlyEnd::Cancel)));
}

#[test]
fn a_run_is_timed_from_its_start_and_not_from_its_wait() {
    let mut scene = MachineScene::taken();
    scene.pass(PATIENCE.run_timeout);
    assert_eq!(scene.seen(RunSighting::Pending), NextStep::Wait(POLL));
    scene.hear();
    scene.pass(PATIENCE.run_timeout.saturating_sub(POLL / 2));
    scene.signals.heard_at = Some(scene.now);
    assert_eq!(scene.seen(RunSighting::Absent), NextStep::Wait(POLL / 2), "up to the limit and no longer");
    scene.pass(POLL / 2);
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Interrupt);
    assert_eq!(scene.seen(RunSighting::Ended), ended(Some(EarlyEnd::Timeout)));
}

#[test]
fn without_a_websocket_a_run_is_timed_from_when_it_was_first_seen_running() {
    let mut scene = MachineScene::running();
    scene.signals.listening_since = None;
    scene.pass(PATIENCE.run_timeout.saturating_sub(POLL));
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Wait(POLL));
    scene.pass(POLL);
    assert_eq!(scene.seen(RunSighting::Running), NextStep::Interrupt);
}

#[test]
fn a_run_that_is_not_given_up_is_left_to_its_server() {
    for (want, early) in [(true, EarlyEnd::Cancel), (false, EarlyEnd::Timeout)] {
        let mut scene = MachineScene::running();
        scene.signals.cancelled = want;
        scene.pass(PATIENCE.run_timeout);
        scene.signals.heard_at = Some(scene.now);
        let (mut interrupts, since) = (0, scene.now);
        let end = loop {
            assert!(scene.now.since(since) <= PATIENCE.interrupt_grace, "it waits for ever");
            match scene.seen(RunSighting::Running) {
                NextStep::Wait(wait) => scene.pass(wait),
                NextStep::Interrupt => interrupts += 1,
                next => break next,
            }
        };
        assert_eq!(end, NextStep::End(AttemptEnd::Stuck(early)));
        assert_eq!(scene.now.since(since), PATIENCE.interrupt_grace);
        assert_eq!(interrupts, 10, "one every two seconds");
    }
}
