//! The list of all cases, for the macros that iterate over them.

/// Calls a macro of this crate with its arguments in brackets and the names of all cases of the
/// store suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_store_case {
    ($callback:ident $($arguments:tt)*) => {
        $crate::$callback! {
            [$($arguments)*]

            // create
            create_keeps_every_field,
            create_keeps_absent_fields_absent,
            create_of_a_stored_id_is_already_exists_and_writes_nothing,
            create_of_an_ended_id_is_already_exists_and_stays_ended,
            create_of_an_expired_id_is_already_exists,
            create_of_a_foreign_id_leaves_no_trace,
            create_is_seen_at_once_by_every_query,

            // load
            load_of_an_unknown_id_is_empty_and_creates_nothing,
            load_returns_live_expired_and_ended_alike,
            load_returns_each_session_once,
            load_of_a_mixture_returns_what_is_stored,
            load_of_no_ids_is_empty,
            load_of_500_ids_returns_all_of_them,
            load_of_501_ids_is_invalid,
            load_and_list_never_write,
            load_sees_every_write_that_returned,

            // update
            update_returns_the_next_revision_and_stores_it,
            update_writes_every_field_that_may_change,
            update_clears_what_the_new_record_does_not_have,
            update_fills_what_was_absent,
            update_keeps_kind_and_creation,
            update_never_moves_a_session_to_another_user,
            update_never_gives_an_anonymous_session_a_user,
            update_ignores_the_revision_in_the_record,
            update_without_a_change_raises_the_revision,
            every_write_but_touch_raises_the_revision_by_one,
            update_does_not_move_last_seen_back,
            update_takes_a_last_seen_time_that_is_not_earlier,
            update_of_an_expired_session_succeeds,
            update_moves_the_deadlines,
            update_moves_the_session_to_its_new_name,
            update_moves_the_session_to_its_new_device,
            update_leaves_other_sessions_alone,
            update_is_seen_by_lists_and_kept_by_the_end,

            // update: refusals
            update_of_a_stale_revision_is_a_conflict_with_the_stored_one,
            update_of_a_future_revision_is_a_conflict,
            update_of_an_unknown_id_is_not_found_and_inserts_nothing,
            update_of_a_purged_session_is_not_found,
            update_of_an_ended_session_is_ended_with_its_end,
            update_of_an_ended_session_is_ended_at_any_revision,
            update_with_an_ended_record_is_invalid_and_ends_nothing,
            nothing_makes_an_ended_session_active_again,

            // touch
            touch_changes_last_seen_and_nothing_else,
            touch_never_moves_back,
            touch_of_the_same_time_moves_nothing,
            touch_of_an_ended_session_is_skipped,
            touch_of_an_unknown_id_is_skipped_and_inserts_nothing,
            touch_counts_only_before_the_absolute_deadline,
            touch_counts_only_before_the_idle_deadline,
            touch_pushes_the_idle_deadline_but_not_the_absolute_one,
            touch_of_one_session_twice_counts_the_latest_once,
            touch_returns_how_many_moved,
            touch_without_a_client_clears_the_client,
            touch_gives_each_session_its_own_values,
            touch_does_not_conflict_with_an_update,
            touch_of_an_empty_batch_moves_nothing,
            touch_of_500_moves_all_of_them,
            touch_of_501_is_invalid_and_moves_nothing,

            // touch: after a deadline
            touch_that_arrives_after_the_idle_deadline_does_not_count,
            touch_that_arrives_after_the_absolute_deadline_does_not_count,
            touch_is_judged_by_the_deadline_as_it_is_now,
            touch_that_arrives_before_the_use_is_judged_by_the_use,
            touch_that_arrives_late_costs_only_itself,
            touch_does_not_revive_what_a_limit_counted_out,

            // end
            end_clears_secrets_and_data_and_keeps_the_history,
            end_returns_what_the_last_writes_left,
            end_keeps_every_reason,
            end_keeps_every_actor,
            end_of_an_ended_session_keeps_the_first_end,
            end_of_unknown_ids_is_no_error_and_creates_nothing,
            end_of_one_id_twice_returns_it_once,
            end_returns_only_what_this_call_ended,
            end_reaches_expired_sessions,
            end_keeps_a_time_before_the_beginning,
            end_of_no_ids_ends_nothing,
            end_of_500_ids_ends_all_of_them,
            end_of_501_ids_is_invalid_and_ends_nothing,
            end_of_a_user_with_501_sessions_ends_all_of_them,
            end_is_seen_at_once_by_every_query,

            // end: scopes
            end_of_ids_ends_those_and_no_others,
            end_of_a_user_ends_theirs_and_no_others,
            end_of_a_user_leaves_anonymous_sessions_alone,
            end_of_a_user_except_one_keeps_that_one,
            end_of_a_user_except_a_foreign_session_ends_all,
            end_of_a_device_ends_that_users_sessions_on_it,
            end_of_a_user_does_not_reach_later_sessions,

            // end: bounds
            end_of_ids_spares_what_was_created_after_its_bound,
            end_of_a_user_spares_what_was_created_after_its_bound,
            end_of_a_user_except_one_spares_what_was_created_after_its_bound,
            end_of_a_device_spares_what_was_created_after_its_bound,
            end_bound_goes_by_the_time_of_creation,
            end_bound_may_be_any_time,

            // limits: evictions and refusals
            limit_that_is_not_reached_ends_nothing,
            limit_ends_the_oldest,
            limit_ends_the_least_recently_seen,
            limit_returns_the_evicted_as_stored,
            limit_never_ends_the_new_session,
            limit_that_was_lowered_ends_several,
            limit_refuses_with_the_live_sessions_redacted,
            limit_that_refuses_writes_nothing,
            limit_that_was_lowered_refuses_with_all_live_sessions,
            limit_ends_nothing_for_an_id_that_is_taken,
            limit_ends_nothing_for_an_invalid_record,
            limit_of_the_largest_number_ends_nothing,

            // limits: which sessions count
            limit_does_not_count_expired_sessions_and_leaves_them,
            limit_does_not_count_ended_sessions,
            limit_does_not_count_other_users,
            limit_does_not_count_the_replaced_session,
            limit_evicts_others_than_the_replaced_session,
            limit_frees_no_place_for_a_replaced_session_that_does_not_count,
            limit_counts_sessions_created_without_one,
            limit_counts_right_after_many_sign_ins_and_outs,
            limit_counts_by_the_deadlines_as_they_are_now,
            limit_by_device_kind_counts_that_kind_only,
            limit_by_device_kind_counts_unknown_as_a_kind,
            limit_of_a_user_counts_all_device_kinds,
            limit_by_device_kind_follows_an_update,

            // limits: two at once
            limits_of_the_user_and_of_the_device_kind_both_hold,
            limits_that_are_both_reached_end_one_session,
            limits_that_were_both_lowered_end_what_either_asks_for,
            limits_refuse_with_what_fills_the_one_that_was_reached,
            limits_of_both_count_unknown_as_a_kind,
            limits_that_are_both_for_the_device_kind_keep_the_smaller,

            // list: filters
            list_of_an_empty_store_is_empty,
            list_without_filters_shows_everything,
            list_by_user_shows_theirs_only,
            list_by_user_name_shows_all_with_that_name,
            list_by_kind_shows_that_kind_only,
            list_of_live_sessions_excludes_ended_and_expired_ones,
            list_of_ended_sessions_excludes_what_was_not_swept,
            list_by_creation_includes_that_millisecond,
            list_filters_work_together,
            list_shows_everything_but_secrets_and_data,
            list_shows_how_sessions_ended,
            list_of_zero_or_501_records_is_invalid,

            // list: by device
            list_by_device_shows_the_users_sessions_on_it,
            list_by_device_without_a_user_shows_all_on_it,
            list_by_device_works_with_other_filters,
            pages_of_a_device_lead_to_older_sessions,
            list_by_device_follows_every_write,

            // list: order and pages
            list_is_newest_first,
            list_orders_one_millisecond_by_id,
            list_orders_by_creation_before_id,
            list_order_does_not_change_with_use,
            pages_join_to_the_whole_list,
            pages_can_begin_within_one_millisecond,
            next_is_absent_after_exactly_one_page,
            pages_are_cut_after_the_filters,
            pages_are_stable_under_inserts,
            pages_are_stable_under_ends,
            pages_go_on_after_the_position_was_purged,
            pages_can_begin_at_any_position,
            page_of_500_is_followed_by_the_501st,

            // expire
            expire_ends_at_the_absolute_deadline,
            expire_ends_at_the_idle_deadline,
            expire_names_the_earlier_deadline,
            expire_counts_the_deadline_itself,
            expire_leaves_live_sessions_alone,
            expire_returns_each_session_once,
            expire_ends_at_most_the_limit,
            expire_finds_the_expired_among_many_live_ones,
            expire_of_zero_ends_nothing,
            expire_of_500_leaves_the_501st,
            expire_of_501_is_invalid_and_ends_nothing,
            expire_goes_by_the_latest_use,
            expire_ends_sessions_of_every_kind,

            // purge
            purge_deletes_only_ends_before_the_time,
            purge_never_deletes_an_active_session,
            purge_goes_by_the_end,
            purge_deletes_at_most_the_limit,
            purge_of_zero_deletes_nothing,
            purge_of_500_leaves_the_501st,
            purge_of_501_is_invalid_and_deletes_nothing,
            purge_leaves_nothing_behind,
            purge_frees_the_id,
            purge_deletes_ends_of_every_reason,

            // stats
            stats_of_an_empty_store_are_empty,
            stats_count_every_session_once,
            stats_judge_at_the_given_time,
            stats_count_users_with_live_sessions_once,
            stats_show_the_oldest_and_newest_creation,
            stats_do_not_change_with_use,

            // invalid requests
            create_refuses_what_check_refuses,
            update_refuses_what_check_refuses,
            create_of_an_ended_record_is_invalid,
            create_of_a_later_revision_is_invalid,
            create_of_an_anonymous_session_under_a_limit_is_invalid,
            invalid_requests_are_refused_before_anything_is_read,
            records_at_the_edge_of_the_rules_are_kept,
            capabilities_do_not_change,

            // errors
            errors_show_neither_data_nor_hashes,
            debug_of_the_store_shows_neither_data_nor_hashes,

            // data
            data_of_zero_and_one_bytes_is_kept,
            data_of_every_byte_value_is_kept,
            data_with_zero_bytes_is_kept,
            data_that_looks_like_something_is_kept,
            data_of_the_largest_size_is_kept,
            data_beyond_the_largest_size_is_not_created,
            data_beyond_the_largest_size_is_not_updated,
            data_that_shrinks_leaves_no_remains,
            hashes_of_every_byte_value_are_kept,

            // unusual records
            each_optional_field_is_kept_alone,
            each_detail_of_a_client_is_kept_alone,
            empty_and_absent_texts_are_kept_apart,
            every_shape_of_secrets_is_kept,
            spent_secrets_keep_their_order,
            every_authentication_method_is_kept,
            authentications_keep_their_order,
            every_kind_of_session_and_device_is_kept,
            large_numbers_keep_every_digit,
            addresses_of_both_families_are_kept,
            coordinates_keep_every_digit,
            times_in_any_order_are_kept,

            // secrets
            every_successor_of_a_secret_is_kept,
            a_secret_is_kept_in_every_step_of_its_life,

            // text
            user_ids_differ_by_case,
            user_ids_differ_by_spaces,
            user_ids_differ_by_unicode_form,
            user_ids_keep_characters_of_four_bytes,
            user_ids_are_not_patterns,
            user_ids_are_not_queries,
            user_ids_may_contain_separators,
            user_ids_are_not_numbers,
            user_ids_may_contain_control_characters,
            user_ids_of_255_bytes_differ_by_the_last,
            user_names_differ_by_case_space_and_form,
            user_names_are_not_interpreted,
            user_names_of_255_bytes_differ_by_the_last,
            labels_are_kept_byte_by_byte,
            client_texts_are_kept_byte_by_byte,

            // ids
            session_ids_differ_by_any_byte,
            session_ids_differ_by_case,
            session_ids_are_not_trimmed,
            session_ids_of_version_8_are_kept,
            device_ids_are_compared_in_full,

            // time
            every_time_keeps_its_millisecond,
            sessions_of_the_epoch_are_kept,
            times_before_the_epoch_are_kept,
            sessions_of_long_ago_live_in_their_own_time,
            sessions_live_beyond_the_year_2038,
            sessions_live_beyond_the_year_2106,
            sessions_live_until_the_end_of_the_year_9999,
            lifetimes_of_400_days_are_kept,
            lifetimes_of_one_millisecond_are_kept,
            the_ends_of_tokens_are_not_the_end_of_the_session,
            extreme_times_can_be_asked_about,
            callers_with_different_clocks_are_answered_by_their_own,

            // races
            parallel_creates_of_one_id_have_one_winner,
            parallel_updates_of_one_revision_have_one_winner,
            parallel_writers_lose_no_update,
            parallel_touches_leave_the_latest,
            updates_and_touches_lose_nothing,
            load_and_list_never_see_half_a_write,
            load_never_sees_half_a_touch,
            load_never_sees_half_a_create,
            writes_are_seen_by_other_tasks_at_once,
            batches_in_opposite_orders_do_not_deadlock,
            pages_are_right_while_sessions_begin,
            parallel_creates_of_different_ids_all_succeed,

            // races against end
            updates_never_undo_an_end,
            touches_never_undo_an_end,
            creates_never_undo_an_end,
            no_reader_sees_an_ended_session_active_again,
            parallel_ends_of_one_session_have_one_winner,
            parallel_ends_of_overlapping_scopes_return_each_session_once,
            parallel_ends_in_opposite_orders_do_not_deadlock,
            end_of_a_user_reaches_every_session_created_before_it,
            repeated_ends_spare_every_later_sign_in,

            // races under a limit
            parallel_sign_ins_end_the_oldest_and_keep_the_limit,
            parallel_sign_ins_end_the_least_recently_seen_and_keep_the_limit,
            parallel_sign_ins_are_refused_beyond_the_limit,
            parallel_sign_ins_of_two_users_keep_both_limits,
            parallel_sign_ins_keep_the_limit_of_each_device_kind,
            parallel_sign_ins_of_both_scopes_keep_the_wider_limit,
            evictions_are_not_undone_by_updates_and_touches,
            evictions_and_ends_return_each_session_once,
            freed_places_are_given_away_once,

            // races under two limits
            parallel_sign_ins_keep_both_limits_of_a_user,
            parallel_sign_ins_are_refused_beyond_both_limits_of_a_user,

            // erase
            erase_leaves_the_tombstone_and_nothing_of_the_user,
            erase_leaves_active_sessions_alone,
            erase_leaves_other_users_alone,
            erase_takes_the_session_out_of_the_users_lists,
            erase_forgets_at_most_the_limit,
            erase_of_an_unknown_user_does_nothing,
            erase_of_501_is_invalid_and_forgets_nothing,
            erase_brings_nothing_back,
            erased_sessions_are_purged_by_their_end,

            // races of sweeps
            parallel_sweepers_claim_each_session_once,
            a_sweep_leaves_what_was_touched_meanwhile,
            a_sweep_leaves_what_was_extended_meanwhile,
            a_sweep_and_an_end_return_each_session_once,
            a_purge_deletes_only_what_a_sweep_ended,
            parallel_purges_count_each_session_once,

            // futures that are dropped
            cancelled_create_leaves_all_or_nothing,
            cancelled_create_under_a_limit_leaves_all_or_nothing,
            cancelled_update_leaves_the_old_or_the_new_record,
            cancelled_touch_moves_each_session_or_not,
            cancelled_end_ends_each_session_or_not,
            cancelled_expire_ends_each_session_or_not,
            cancelled_purge_deletes_each_session_or_not,
            cancelled_reads_leave_everything_as_it_was,
        }
    };
}
