//! The cases that every implementation of the store must pass.

pub mod attempts;
pub mod backends;
pub mod inputs;
pub mod queue;
pub mod reading;
pub mod retention;
pub mod workflows;

/// Defines one test per case. `$make` is an async function that returns a new [`Fixture`](crate::support::Fixture).
#[macro_export]
macro_rules! every_case {
    ($make:path) => {
        $crate::every_case!(@ $make:
            queue::an_accepted_job_is_queued,
            queue::queued_jobs_are_listed_with_everything_placement_needs,
            queue::reading_page_by_page_misses_no_job_queued_meanwhile,
            queue::only_named_jobs_are_claimed,
            queue::measurements_are_kept_for_the_most_recently_used_shapes,
            queue::fewer_jobs_than_claims_are_no_error,
            queue::the_first_attempt_has_the_jobs_id_and_later_ones_the_claims,
            queue::a_job_is_not_claimed_before_it_is_due,
            queue::a_claimed_job_has_everything_its_run_needs,
            queue::a_cancel_ends_queued_jobs_and_is_recorded_on_running_ones,
            queue::queued_jobs_expire_at_their_deadline_and_running_ones_do_not,
            queue::two_dispatchers_never_get_the_same_job,
            queue::the_stats_count_every_status,
            attempts::a_finish_under_the_right_fence_ends_the_job,
            attempts::a_finish_under_a_wrong_fence_changes_nothing,
            attempts::a_job_ends_once,
            attempts::refusals_of_a_job_are_counted,
            attempts::a_job_is_cancelled_only_on_request,
            attempts::a_requeued_job_is_queued_again,
            attempts::a_requeue_after_a_cancel_or_under_a_wrong_fence_is_refused,
            attempts::adoption_takes_over_the_jobs_of_other_owners,
            attempts::adoption_of_expired_leases_leaves_the_others,
            attempts::a_renewed_lease_is_not_expired,
            attempts::a_dropped_write_happens_wholly_or_not_at_all,
            reading::results_are_read_back_byte_for_byte,
            reading::a_claim_says_whether_partial_results_are_allowed,
            reading::an_outputs_file_is_separate_from_the_media_files,
            reading::thousands_of_files_keep_their_order,
            reading::the_list_is_newest_first_and_continues_at_its_cursor,
            reading::the_list_can_be_filtered_by_status,
            reading::one_file_is_found_by_its_stored_name,
            reading::unknown_ids_are_unknown_everywhere,
            inputs::a_job_is_claimed_only_when_it_has_its_files,
            inputs::files_that_cannot_be_fetched_fail_the_job,
            inputs::a_job_that_left_the_queue_gets_no_files,
            inputs::an_uploaded_file_is_known_until_it_expires_or_is_deleted,
            inputs::files_of_unfinished_jobs_and_uploads_are_needed,
            inputs::a_backend_that_cannot_run_a_job_is_skipped,
            inputs::a_job_excluded_from_a_backend_runs_elsewhere,
            workflows::a_changed_workflow_is_a_new_version_and_old_ones_stay,
            workflows::an_editor_file_is_the_same_version_whatever_graph_it_converts_to,
            workflows::the_list_has_the_newest_version_of_each_name,
            workflows::a_deleted_workflow_loses_its_versions_but_not_its_numbering,
            workflows::jobs_are_listed_by_their_workflow,
            backends::added_backends_keep_their_fields_and_their_order,
            backends::a_name_is_taken_until_its_backend_is_deleted,
            backends::modes_are_kept_until_the_backend_is_opened_or_deleted,
            retention::only_ended_jobs_can_be_deleted,
            retention::jobs_are_purged_when_their_retention_ends,
            retention::a_shorter_retention_applies_to_existing_jobs_and_files,
            retention::old_tombstones_are_deleted,
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
