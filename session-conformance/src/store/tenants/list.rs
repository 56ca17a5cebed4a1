/// Calls a macro of this crate with its arguments in brackets and the names of all cases of the
/// store suite that need two stores.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_tenant_case {
    ($callback:ident $($arguments:tt)*) => {
        $crate::$callback! {
            [$($arguments)*]
            tenants_are_apart_in_creates,
            tenants_are_apart_in_loads,
            tenants_are_apart_in_lists,
            tenants_are_apart_in_pages,
            tenants_are_apart_in_stats,
            tenants_are_apart_in_updates,
            tenants_are_apart_in_touches,
            tenants_are_apart_in_ends_of_ids,
            tenants_are_apart_in_ends_of_users,
            tenants_are_apart_in_limits,
            tenants_are_apart_in_refusals,
            tenants_are_apart_in_sweeps,
            tenants_are_apart_in_purges,
            tenants_are_apart_in_erasures,
            tenants_are_apart_by_their_places,
            tenants_are_apart_in_races,
        }
    };
}
