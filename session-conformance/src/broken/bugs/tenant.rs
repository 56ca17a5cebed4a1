//! The mistakes in the separation of two stores.

bugs! {
    /// A mistake of a pair of [`BrokenTenant`](crate::broken::BrokenTenant)s.
    TenantBug {
        CreateSeesOther: "create takes an id of another tenant for its own", tenants_are_apart_in_creates;
        LoadFindsOther: "load finds sessions of another tenant", tenants_are_apart_in_loads;
        ListShowsOther: "a list that would be empty shows another tenant", tenants_are_apart_in_lists;
        PagesMeetInOther: "the last page leads to sessions of another tenant", tenants_are_apart_in_pages;
        StatsCountOther: "stats count the live sessions of every tenant", tenants_are_apart_in_stats;
        UpdateReachesOther: "update writes the session of the same id of another tenant",
            tenants_are_apart_in_updates;
        TouchReachesOther: "touch moves sessions of another tenant", tenants_are_apart_in_touches;
        EndOfIdsReachesOther: "end of ids ends sessions of every tenant", tenants_are_apart_in_ends_of_ids;
        EndOfUserReachesOther: "end of a user ends sessions of every tenant",
            tenants_are_apart_in_ends_of_users;
        EndOfUserExceptReachesOther: "end of all sessions but one ends sessions of every tenant",
            tenants_are_apart_in_ends_of_users;
        EndOfDeviceReachesOther: "end of a device ends sessions of every tenant",
            tenants_are_apart_in_ends_of_users;
        LimitEvictsOther: "a limit ends sessions of another tenant", tenants_are_apart_in_limits;
        LimitRefusesForOther: "a limit refuses for sessions of another tenant",
            tenants_are_apart_in_refusals;
        ExpireReachesOther: "expire ends sessions of every tenant", tenants_are_apart_in_sweeps;
        PurgeReachesOther: "purge deletes sessions of every tenant", tenants_are_apart_in_purges;
        EraseReachesOther: "erase forgets the user of every tenant", tenants_are_apart_in_erasures;
        PlaceIsShared: "both tenants name the same place", tenants_are_apart_by_their_places;
        ConnectionOfOther: "a shared connection serves the tenant that used it last",
            tenants_are_apart_in_races;
    }
}
