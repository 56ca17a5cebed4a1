//! The mistakes of a store.

bugs! {
    /// A mistake of a [`BrokenStore`](crate::broken::BrokenStore).
    Bug {
        UpsertingCreate: "create replaces a stored session",
            create_of_a_stored_id_is_already_exists_and_writes_nothing;
        CreateOverEnded: "create takes over the id of an ended session",
            create_of_an_ended_id_is_already_exists_and_stays_ended;
        CreateOverExpired: "create takes over the id of an expired session",
            create_of_an_expired_id_is_already_exists;
        HiddenLimit: "create without a limit removes the oldest of ten", load_of_500_ids_returns_all_of_them;
        RacyCreate: "create checks first and inserts later", parallel_creates_of_one_id_have_one_winner;
        TornCreate: "create writes label and data in a second step", load_never_sees_half_a_create;
        UncheckedCreate: "create stores records that break the rules", create_refuses_what_check_refuses;
        RacyLimit: "create counts first and inserts later", parallel_sign_ins_are_refused_beyond_the_limit;
        LimitCountsExpired: "a limit counts sessions that are past their deadline",
            limit_does_not_count_expired_sessions_and_leaves_them;
        LimitCountsTheNew: "a limit may end the session that it was asked for",
            limit_never_ends_the_new_session;
        LimitEndsFirst: "a limit ends sessions before the id is checked",
            limit_ends_nothing_for_an_id_that_is_taken;
        LimitCountsReplaced: "a limit counts the session that the new one replaces",
            limit_does_not_count_the_replaced_session;
        LimitOfKindCountsReplaced: "a limit per kind of device counts the session that is replaced",
            limit_does_not_count_the_replaced_session;
        LimitEvictsReplaced: "a limit frees a place for the replaced session, and may evict it",
            limit_evicts_others_than_the_replaced_session;
        LimitTrustsReplaced: "a limit frees a place for any session that is named as replaced",
            limit_frees_no_place_for_a_replaced_session_that_does_not_count;
        LimitIgnoresDeviceKind: "a limit per kind of device counts all devices",
            limit_by_device_kind_counts_that_kind_only;
        LimitAllowsOneMore: "a limit allows one session too many", limit_ends_the_oldest;
        LimitIgnoresSecond: "of two limits only the one of the user applies",
            limits_of_the_user_and_of_the_device_kind_both_hold;
        LimitTakesNarrower: "a limit for the kind of device replaces the one for the user",
            limits_of_the_user_and_of_the_device_kind_both_hold;
        LimitsEvictOneEach: "two reached limits end one session each",
            limits_that_are_both_reached_end_one_session;
        LimitsEndOneOnly: "two lowered limits end one session only",
            limits_that_were_both_lowered_end_what_either_asks_for;
        RefusalOfKindNamesAll: "a refusal for the kind of device shows all live sessions",
            limits_refuse_with_what_fills_the_one_that_was_reached;
        LimitSparesUnknownKind: "a limit per kind of device does not apply to unknown kinds",
            limits_of_both_count_unknown_as_a_kind;
        LimitsOfOneKindKeepTheLarger: "of two limits per kind of device the larger one applies",
            limits_that_are_both_for_the_device_kind_keep_the_smaller;
        RacySecondLimit: "the limit for the kind of device is counted before the insert",
            parallel_sign_ins_keep_both_limits_of_a_user;
        RacySecondRefusal: "the limit for the kind of device refuses by an earlier count",
            parallel_sign_ins_are_refused_beyond_both_limits_of_a_user;
        LimitOverflows: "a large limit becomes a negative one", limit_of_the_largest_number_ends_nothing;
        LimitAlwaysEndsOldest: "a limit ends the oldest session instead of the least recently seen",
            limit_ends_the_least_recently_seen;
        LimitEndsOneOnly: "a lowered limit ends one session only",
            limit_that_was_lowered_ends_several;
        EvictionDeletes: "a limit deletes the surplus and leaves no tombstone",
            limit_returns_the_evicted_as_stored;
        EvictionUnreported: "create does not return the sessions that it ended", limit_ends_the_oldest;
        RefusalStores: "create stores the session that it refuses", limit_that_refuses_writes_nothing;
        RefusalLeaksSecrets: "a refusal shows secrets and data of the live sessions",
            limit_refuses_with_the_live_sessions_redacted;
        RefusalNamesNobody: "a refusal does not name the live sessions",
            limit_that_was_lowered_refuses_with_all_live_sessions;

        SecondsOnly: "times are cut to the second", every_time_keeps_its_millisecond;
        DataEndsAtNul: "data ends at its first NUL", data_with_zero_bytes_is_kept;
        DataCutAt32KiB: "data is cut at 32 KiB", data_of_the_largest_size_is_kept;
        DataAsText: "data is kept as text, and invalid UTF-8 is replaced",
            data_of_every_byte_value_is_kept;
        AbsentBecomesEmpty: "an absent text is read back as an empty one",
            empty_and_absent_texts_are_kept_apart;
        TrimmedTexts: "texts lose their spaces at the ends", labels_are_kept_byte_by_byte;
        AsciiOnly: "texts keep only ASCII", client_texts_are_kept_byte_by_byte;
        SinglePrecision: "coordinates are kept in single precision", coordinates_keep_every_digit;
        AddressesOfFourBytes: "addresses of version 6 are not kept", addresses_of_both_families_are_kept;
        AuthenticationsSorted: "authentications are sorted", authentications_keep_their_order;
        SpentHashesReversed: "spent hashes are read back in another order", spent_secrets_keep_their_order;
        KindForgotten: "every session is a web session", every_kind_of_session_and_device_is_kept;
        NarrowNumbers: "numbers are cut to 32 bits", large_numbers_keep_every_digit;
        PreviousSecretForgotten: "the secret before the last rotation is not kept",
            every_shape_of_secrets_is_kept;
        SuccessorForgotten: "the state of a secret's successor is not kept",
            every_successor_of_a_secret_is_kept;
        RefreshSuccessorForgotten: "the state of a refresh token's successor is not kept",
            every_successor_of_a_secret_is_kept;
        PresentationAtRotation: "a successor counts as presented at the rotation",
            every_successor_of_a_secret_is_kept;
        UpdateKeepsSuccessor: "update does not write the state of a successor",
            a_secret_is_kept_in_every_step_of_its_life;
        SecretDeadlineForgotten: "the expiry of a secret is not kept", create_keeps_every_field;
        CaseInsensitiveId: "ids are compared without regard to case", session_ids_differ_by_case;
        CaseInsensitiveUser: "user ids are compared without regard to case", user_ids_differ_by_case;
        DeviceIdPrefix: "device ids are compared by their beginning", device_ids_are_compared_in_full;
        PaddedUser: "user ids are compared without the spaces at their end", user_ids_differ_by_spaces;
        UserIdPrefix: "user ids are compared by their first 191 bytes",
            user_ids_of_255_bytes_differ_by_the_last;
        CaseInsensitiveName: "user names are compared without regard to case",
            user_names_differ_by_case_space_and_form;
        NamesArePatterns: "user names in queries are patterns", user_names_are_not_interpreted;

        LoadHidesEnded: "load does not find ended sessions", load_returns_live_expired_and_ended_alike;
        LoadSwallowsErrors: "load returns an empty result for every failure", load_of_501_ids_is_invalid;
        LoadOfNothingFails: "load of an unknown id is an error",
            load_of_an_unknown_id_is_empty_and_creates_nothing;
        LoadOfNoIdsLoadsAll: "load of no ids returns everything", load_of_no_ids_is_empty;
        LoadRepeats: "load returns a session once per occurrence of its id", load_returns_each_session_once;
        LoadReturnsOnePage: "load returns at most 100 sessions", load_of_500_ids_returns_all_of_them;
        LoadCreates: "load creates missing sessions", load_of_an_unknown_id_is_empty_and_creates_nothing;
        LoadSlidesExpiry: "load extends the session", load_and_list_never_write;
        LaggingReplica: "load reads a replica that is one write behind", load_sees_every_write_that_returned;
        RepliesSwapped: "load returns one session under the id of another",
            load_of_a_mixture_returns_what_is_stored;
        DebugShowsData: "the store's Debug output shows data",
            debug_of_the_store_shows_neither_data_nor_hashes;
        CapabilitiesChange: "capabilities depend on what is stored", capabilities_do_not_change;

        UpsertingUpdate: "update inserts a missing session",
            update_of_an_unknown_id_is_not_found_and_inserts_nothing;
        UpdateOfNothingSucceeds: "update of a missing session reports success",
            update_of_an_unknown_id_is_not_found_and_inserts_nothing;
        ResurrectingUpdate: "update makes an ended session active",
            update_of_an_ended_session_is_ended_with_its_end;
        UpdateIgnoresRevision: "update does not check the revision",
            update_of_a_stale_revision_is_a_conflict_with_the_stored_one;
        UpdateRefusesOlderOnly: "update accepts revisions that were never reached",
            update_of_a_future_revision_is_a_conflict;
        RacyUpdate: "update compares first and writes later",
            parallel_updates_of_one_revision_have_one_winner;
        TornUpdate: "update writes the data and the rest in two steps", load_and_list_never_see_half_a_write;
        UpdateMovesSeenBack: "update moves the last-seen time back", update_does_not_move_last_seen_back;
        UpdateChangesUser: "update gives a session to another user",
            update_never_moves_a_session_to_another_user;
        UpdateReachesSiblings: "update writes all sessions of the user", update_leaves_other_sessions_alone;
        UpdateKeepsRevision: "update does not raise the revision",
            update_returns_the_next_revision_and_stores_it;
        UpdateTrustsRecordRevision: "update stores the revision that the caller's record names",
            update_ignores_the_revision_in_the_record;
        UpdateMerges: "update keeps what the new record does not have",
            update_clears_what_the_new_record_does_not_have;
        UpdateEnds: "update ends sessions", update_with_an_ended_record_is_invalid_and_ends_nothing;
        UncheckedUpdate: "update stores records that break the rules", update_refuses_what_check_refuses;
        CancelLeavesLock: "an update whose future is dropped keeps its lock",
            cancelled_update_leaves_the_old_or_the_new_record;
        ConflictWithoutRevision: "a conflict does not name the stored revision",
            update_of_a_stale_revision_is_a_conflict_with_the_stored_one;
        ConflictBeforeEnded: "a late update of an ended session is a conflict",
            update_of_an_ended_session_is_ended_at_any_revision;
        EndedWithoutEnd: "an update of an ended session is refused without the end",
            update_of_an_ended_session_is_ended_with_its_end;

        TouchInserts: "touch inserts a missing session",
            touch_of_an_unknown_id_is_skipped_and_inserts_nothing;
        ResurrectingTouch: "touch makes an ended session active", touch_of_an_ended_session_is_skipped;
        TouchReachesEnded: "touch updates an ended session",
            touch_of_an_ended_session_is_skipped;
        TouchRevives: "touch revives a session that is past its deadline",
            touch_counts_only_before_the_idle_deadline;
        TouchMovesBack: "touch overwrites a later last-seen time", touch_never_moves_back;
        TouchRaisesRevision: "touch raises the revision", touch_does_not_conflict_with_an_update;
        TouchCountsBatch: "touch counts the batch and not the updated sessions", touch_returns_how_many_moved;
        TouchCountsTwice: "touch counts a session once per occurrence of its id",
            touch_of_one_session_twice_counts_the_latest_once;
        TouchStopsEarly: "touch moves the first 100 of a batch", touch_of_500_moves_all_of_them;
        TouchTakesAnyBatch: "touch accepts more than one batch", touch_of_501_is_invalid_and_moves_nothing;
        TouchOfNothingTouchesAll: "touch of an empty batch writes every row",
            touch_of_an_empty_batch_moves_nothing;
        TouchMergesClient: "touch keeps the old address if there is no new one",
            touch_without_a_client_clears_the_client;
        TouchDeadlocks: "touch locks rows in the order of the batch",
            batches_in_opposite_orders_do_not_deadlock;
        TouchForgetsClient: "touch does not write the client", touch_gives_each_session_its_own_values;
        TouchIgnoresArrival: "touch checks the time of the use only, not the arrival",
            touch_that_arrives_after_the_idle_deadline_does_not_count;
        TouchForgivesDelay: "a touch counts up to a second after the deadline",
            touch_does_not_revive_what_a_limit_counted_out;
        TouchArrivalInclusive: "a touch counts at the very millisecond of the deadline",
            touch_that_arrives_after_the_idle_deadline_does_not_count;
        TouchArrivalIgnoresAbsolute: "a late touch is judged by the idle deadline only",
            touch_that_arrives_after_the_absolute_deadline_does_not_count;
        TouchArrivalByFirstDeadline: "a late touch is judged by the deadline at creation",
            touch_is_judged_by_the_deadline_as_it_is_now;
        TouchIgnoresUse: "touch checks the arrival only, not the time of the use",
            touch_that_arrives_before_the_use_is_judged_by_the_use;
        TouchLateRefusesBatch: "one late touch voids the whole batch",
            touch_that_arrives_late_costs_only_itself;

        EndKeepsData: "end leaves the data", end_clears_secrets_and_data_and_keeps_the_history;
        EndKeepsSecrets: "end leaves the secret", end_clears_secrets_and_data_and_keeps_the_history;
        EndKeepsRevision: "end does not raise the revision", every_write_but_touch_raises_the_revision_by_one;
        EndClearsHistory: "end clears the client",
            end_clears_secrets_and_data_and_keeps_the_history;
        EndForgetsReason: "end does not keep the reason", end_keeps_every_reason;
        EndForgetsActor: "end does not keep the actor", end_keeps_every_actor;
        EndTakesAnyBatch: "end accepts more than one batch", end_of_501_ids_is_invalid_and_ends_nothing;
        EndDeletes: "end deletes the row and leaves no tombstone",
            end_clears_secrets_and_data_and_keeps_the_history;
        EndOverwrites: "a second end replaces the first", end_of_an_ended_session_keeps_the_first_end;
        EndReturnsAll: "end also returns sessions that ended before", end_returns_only_what_this_call_ended;
        EndReturnsTheRecordBefore: "end returns the records from before the end",
            end_returns_what_the_last_writes_left;
        EndLeavesTombstones: "end of an unknown id stores an ended session",
            end_of_unknown_ids_is_no_error_and_creates_nothing;
        EndSkipsExpired: "end does not reach sessions that are past their deadline",
            end_reaches_expired_sessions;
        EndReachesOneBatch: "end of a user reaches their first 500 sessions",
            end_of_a_user_with_501_sessions_ends_all_of_them;
        EndMissesDevice: "end of a device ends nothing", end_of_a_device_ends_that_users_sessions_on_it;
        EndOfDeviceOfAnybody: "end of a user's device ends other users' sessions on it",
            end_of_a_device_ends_that_users_sessions_on_it;
        EndSparesNobody: "end of all sessions but one ends that one", end_of_a_user_except_one_keeps_that_one;
        EndOfNoIdsEndsAll: "end of an empty list of ids ends everything", end_of_no_ids_ends_nothing;
        EndOfIdsIgnoresBound: "end of ids does not check the creation time",
            end_of_ids_spares_what_was_created_after_its_bound;
        EndOfUserIgnoresBound: "end of a user does not check the creation time",
            end_of_a_user_spares_what_was_created_after_its_bound;
        EndOfUserExceptIgnoresBound: "end of all sessions but one does not check the creation time",
            end_of_a_user_except_one_spares_what_was_created_after_its_bound;
        EndOfDeviceIgnoresBound: "end of a device does not check the creation time",
            end_of_a_device_spares_what_was_created_after_its_bound;
        EndBoundExcludes: "end spares a session of the very millisecond of its bound",
            end_of_a_user_spares_what_was_created_after_its_bound;
        EndRepeatIgnoresBound: "end that finds nothing within its bound ignores it",
            end_of_ids_spares_what_was_created_after_its_bound;
        EndWritesWhatItSpares: "end raises the revision of sessions that it spares",
            end_of_a_user_spares_what_was_created_after_its_bound;
        EndBoundById: "end compares its bound with the time in the id", end_bound_goes_by_the_time_of_creation;
        EndBoundByLastSeen: "end compares its bound with the last use", end_bound_goes_by_the_time_of_creation;
        EndBoundOverflows: "the latest possible bound becomes negative", end_bound_may_be_any_time;
        EndChecksBoundFirst: "end first checks that all sessions are within its bound, and then ends all",
            repeated_ends_spare_every_later_sign_in;
        RacyEnd: "end reads first and writes later", parallel_ends_of_one_session_have_one_winner;

        ListLeaksSecrets: "a list shows secrets and data", list_shows_everything_but_secrets_and_data;
        ListOfNothingFails: "a list without records is an error", list_of_an_empty_store_is_empty;
        StaleNameIndex: "a list by user name goes by the name at creation",
            update_moves_the_session_to_its_new_name;
        LaggingIndex: "a list is one write behind", create_is_seen_at_once_by_every_query;
        KindIgnored: "a list by kind shows every kind", list_by_kind_shows_that_kind_only;
        DeviceIgnored: "a list by device shows every device", list_by_device_shows_the_users_sessions_on_it;
        DeviceOfNoneIsAny: "a session without a device is listed for every device",
            list_by_device_shows_the_users_sessions_on_it;
        DeviceOfAnybody: "a list of a user's device shows other users' sessions on it",
            list_by_device_shows_the_users_sessions_on_it;
        DeviceNeedsUser: "a list by device without a user is empty",
            list_by_device_without_a_user_shows_all_on_it;
        DeviceIgnoresState: "a list by device shows sessions of every state",
            list_by_device_works_with_other_filters;
        DeviceIgnoresPosition: "a page of a device begins at its newest session",
            pages_of_a_device_lead_to_older_sessions;
        DeviceCutBeforeFilter: "a page of a device is cut before the filter by device",
            pages_of_a_device_lead_to_older_sessions;
        StaleDeviceIndex: "a list by device goes by the device at creation", list_by_device_follows_every_write;
        ListOldestFirst: "a list begins with the oldest session", list_is_newest_first;
        OffsetPaging: "pages begin at an offset", pages_are_stable_under_inserts;
        ListAlwaysHasNext: "the last page names a next one", next_is_absent_after_exactly_one_page;
        CursorIgnoresId: "a page skips sessions of the same millisecond",
            pages_can_begin_within_one_millisecond;
        ListCutsPageSize: "a page size that is too large is cut instead of refused",
            list_of_zero_or_501_records_is_invalid;
        LiveIgnoresIdle: "a list of live sessions shows idle ones",
            list_of_live_sessions_excludes_ended_and_expired_ones;
        CreatedSinceExcludes: "a list since a time excludes that very time",
            list_by_creation_includes_that_millisecond;

        UnboundedExpire: "expire ends more sessions than its limit", expire_ends_at_most_the_limit;
        ExpireTakesAnyLimit: "expire accepts more than one batch", expire_of_501_is_invalid_and_ends_nothing;
        ExpireEndsNow: "expire ends sessions at the time of the sweep", expire_ends_at_the_absolute_deadline;
        ExpireAlwaysAbsolute: "expire calls an idle end absolute", expire_names_the_earlier_deadline;
        ExpireIgnoresIdle: "expire ignores the idle deadline", expire_ends_at_the_idle_deadline;
        ExpireByFirstDeadline: "expire goes by the deadline at creation", update_moves_the_deadlines;
        ExpireAfterDeadline: "expire spares sessions at the very millisecond of their deadline",
            expire_counts_the_deadline_itself;
        ExpireLooksAtOldestOnly: "expire checks the oldest sessions only, and returns too few",
            expire_finds_the_expired_among_many_live_ones;
        ExpireSaysNothing: "expire does not return the sessions that it ended", expire_returns_each_session_once;
        RacyExpire: "expire ends sessions without checking again", a_sweep_leaves_what_was_touched_meanwhile;
        UnboundedPurge: "purge deletes more sessions than its limit", purge_deletes_at_most_the_limit;
        PurgeInclusive: "purge deletes sessions that ended at the very millisecond",
            purge_deletes_only_ends_before_the_time;
        EraseDeletes: "erase deletes the row and leaves no tombstone", erase_leaves_the_tombstone_and_nothing_of_the_user;
        EraseKeepsTheName: "erase keeps the user's name", erase_takes_the_session_out_of_the_users_lists;
        EraseOfActive: "erase ends active sessions, too", erase_leaves_active_sessions_alone;
        EraseTakesAnyLimit: "erase accepts more than one batch", erase_of_501_is_invalid_and_forgets_nothing;
        PurgeOfActive: "purge deletes active sessions that are past their deadline",
            purge_never_deletes_an_active_session;
        PurgeByLastSeen: "purge goes by the last-seen time and not by the end", purge_goes_by_the_end;
        PurgeSaysNothing: "purge returns zero", purge_deletes_ends_of_every_reason;
        PurgeTakesAnyLimit: "purge accepts more than one batch", purge_of_501_is_invalid_and_deletes_nothing;

        StatsCountExpiredAsLive: "stats count sessions past their deadline as live",
            stats_judge_at_the_given_time;
        StatsCountSessionsAsUsers: "stats count a user once per session",
            stats_count_users_with_live_sessions_once;
        StatsForgetEnded: "stats do not count ended sessions", stats_count_every_session_once;
        StatsOfNothingAreZero: "the oldest session of an empty store is of 1970",
            stats_of_an_empty_store_are_empty;
        StatsOfLiveOnly: "stats look for the oldest and newest session among the live ones",
            stats_show_the_oldest_and_newest_creation;
    }
}
