//! The mistakes of a cache.

bugs! {
    /// A mistake of a [`BrokenCache`](crate::broken::BrokenCache).
    CacheBug {
        BlindPut: "put replaces every entry", older_revision_never_replaces;
        RacyPut: "put compares first and writes later", race_of_puts_keeps_the_highest_revision;
        EqualReplaces: "an entry that is just as new replaces", same_entry_again_is_not_stored;
        VerificationIgnored: "a later verified copy of a revision does not replace",
            later_verified_copy_of_a_revision_replaces;
        RevisionsAsText: "revisions are compared as text", revisions_compare_as_numbers;
        RevisionsAsFloats: "revisions are compared as floating-point numbers", revisions_compare_as_numbers;
        TombstoneNeedsRevision: "a tombstone does not replace a newer revision",
            tombstone_replaces_a_record_of_any_revision;
        TombstoneReplaced: "a newer revision replaces a tombstone", nothing_replaces_a_tombstone;
        TombstoneReplacedByTombstone: "a later tombstone replaces the first", nothing_replaces_a_tombstone;
        TombstoneNeedsRecord: "a tombstone is stored over a record only", tombstone_is_gone_after_its_ttl;
        AlwaysStored: "put always returns true", put_returns_whether_it_stored;
        ZeroTtlLivesForEver: "a time to live of zero means for ever", ttl_of_zero_stores_nothing;
        ZeroTtlRemoves: "a time to live of zero removes the present entry", ttl_of_zero_leaves_what_is_there;
        WholeSeconds: "the time to live is cut to whole seconds", entry_is_gone_after_its_ttl;
        NothingExpires: "entries do not expire", entry_is_gone_after_its_ttl;
        TombstonesStay: "tombstones do not expire", tombstone_is_gone_after_its_ttl;
        MissIsAnError: "get of nothing is an error", get_of_nothing_is_none;
        RemainingIsTtl: "the remaining time is the whole time to live", remaining_time_counts_down;
        ReadingExtends: "reading an entry extends its life", reading_does_not_extend_the_ttl;
        ReadingVerifies: "reading an entry makes it look verified", verified_at_keeps_its_millisecond;
        TombstoneForgetsActor: "a tombstone does not keep the actor",
            tombstone_keeps_reason_time_and_actor;
        DataEndsAtNul: "data ends at its first NUL", every_byte_of_the_data_comes_back;
        SmallPayloads: "records above 8 KiB are not kept", largest_payload_comes_back;
        ShardIsKey: "the key is the shard and not the id", ids_are_independent;
        CaseInsensitiveId: "ids are compared without regard to case", ids_are_compared_byte_by_byte;
        RemoveSparesTombstones: "remove does not remove tombstones", remove_forgets_a_tombstone;
        RemoveClears: "remove clears the whole cache", remove_of_nothing_is_fine;
        ScopeIgnored: "the key does not hold the scope", get_under_another_scope_is_none;
        ScopeIgnoredByPut: "an entry of another scope prevents a put",
            older_entry_of_another_scope_is_stored;
        ScopeIgnoredByTombstone: "a tombstone prevents puts in every scope",
            tombstone_of_another_scope_keeps_nothing_out;
        ScopeReplaced: "an entry replaces the one in another scope",
            scopes_hold_entries_of_one_id_side_by_side;
        ScopeIgnoredByRemove: "remove removes an id from every scope", remove_leaves_other_scopes_alone;
        ScopePrefix: "scopes are compared by their first 8 bytes", scopes_are_compared_byte_by_byte;
        ScopeForgotten: "an entry is read back without its scope",
            scopes_hold_entries_of_one_id_side_by_side;
    }
}
