//! The cases that every store must pass, and the list of them.

pub mod attempts;
pub mod backends;
pub mod forgetting;
pub mod inputs;
pub mod queue;
pub mod reading;
pub mod workflows;

/// Makes a test of every case, on stores that `$make` gives.
#[macro_export]
macro_rules! every_case {
    ($make:path) => {
        $crate::every_case!(@ $make:
            queue::an_accepted_job_waits_at_its_place,
            queue::waiting_jobs_are_told_of_with_all_that_placing_them_needs,
            queue::whoever_reads_on_misses_no_job_that_comes_to_wait,
            queue::only_the_jobs_that_are_named_are_claimed,
            queue::what_runs_took_is_kept_for_the_shapes_used_last,
            queue::fewer_jobs_than_claims_are_no_error,
            queue::the_first_attempt_carries_the_jobs_id_and_later_ones_the_given,
            queue::a_job_is_not_claimed_before_its_moment,
            queue::a_claimed_job_has_all_that_running_it_needs,
            queue::a_cancel_ends_queued_jobs_and_is_noted_on_running_ones,
            queue::queued_jobs_expire_at_their_deadline_and_running_ones_do_not,
            queue::two_dispatchers_never_get_the_same_job,
            queue::the_stats_count_every_status,
            attempts::a_finish_under_the_right_fence_ends_the_job,
            attempts::a_finish_under_a_wrong_fence_changes_nothing,
            attempts::an_end_is_written_once,
            attempts::refusals_of_a_job_are_counted,
            attempts::a_job_is_cancelled_only_on_request,
            attempts::a_requeued_job_waits_again,
            attempts::a_requeue_after_a_cancel_or_under_a_wrong_fence_is_refused,
            attempts::adoption_takes_over_what_others_hold,
            attempts::only_expired_leases_are_adopted_when_asked_so,
            attempts::a_renewed_lease_is_not_expired,
            attempts::a_dropped_write_happens_wholly_or_not_at_all,
            reading::what_was_made_is_read_back_byte_for_byte,
            reading::whether_a_part_is_enough_is_told_with_each_claim,
            reading::outputs_that_are_a_file_are_told_from_the_jobs_files,
            reading::thousands_of_files_keep_their_order,
            reading::the_list_is_newest_first_and_goes_on_from_its_cursor,
            reading::the_list_may_be_of_one_status,
            reading::one_file_is_found_by_its_stored_name,
            reading::unknown_ids_are_unknown_everywhere,
            inputs::a_job_is_claimed_only_when_it_has_its_files,
            inputs::files_that_cannot_be_had_fail_the_job,
            inputs::who_left_the_queue_gets_no_files,
            inputs::an_uploaded_file_is_known_until_it_is_forgotten,
            inputs::what_is_needed_is_what_waits_runs_or_was_uploaded,
            inputs::a_server_that_cannot_run_a_job_is_passed_over,
            inputs::a_job_that_was_sent_back_for_good_goes_elsewhere,
            workflows::a_changed_workflow_is_a_new_version_and_old_ones_stay,
            workflows::a_file_of_the_editor_is_the_same_whatever_graph_comes_of_it,
            workflows::the_list_has_the_newest_of_each_by_name,
            workflows::a_forgotten_workflow_is_forgotten_with_its_versions,
            workflows::jobs_are_listed_by_their_workflow,
            backends::an_added_backend_is_kept_with_all_it_needs_and_in_its_order,
            backends::a_name_is_given_once_until_its_backend_is_forgotten,
            backends::modes_are_kept_by_name_until_the_backend_is_opened_or_forgotten,
            forgetting::only_ended_jobs_can_be_deleted,
            forgetting::jobs_are_purged_when_their_retention_ends,
            forgetting::a_shorter_retention_holds_for_what_is_here_already,
            forgetting::tombstones_are_forgotten_in_their_turn,
        );
    };
    (@ $make:path: $($file:ident::$case:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $case() {
            let fixture: $crate::support::Fixture = $make().await;
            $crate::cases::$file::$case(fixture.store.as_ref()).await;
        }
    )* };
}
