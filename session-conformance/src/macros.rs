//! The macros that create a test for every case.

/// Tests a store: one test per case, named `$name::<case>`.
///
/// The macro calls the factory for every case and [form](crate::Form), in a tokio runtime of two
/// threads that lives as long as that run: once, or twice for the cases named
/// `tenants_are_apart_...`, which need two stores. The factory returns a fresh, empty store: a
/// database backend creates a new key prefix, schema or file each time. So tests run in parallel,
/// and no cleanup is needed.
///
/// With `env "VARIABLE"`, the store needs a server. The variable is read when the test runs, and
/// its value is passed to the factory. If it is not set, the test prints one line, `skipped ...`,
/// and passes, unless the variable `SESSION_TEST_REQUIRE` names the suite: it holds names separated
/// by commas, or `all`. Set it in CI, so that a missing server cannot look like a success.
///
/// # Examples
/// ```
/// use session_conformance::reference::MapStore;
///
/// mod conformance {
///     use session_conformance::reference::MapStore;
///
///     // Tests named `conformance::map::create_keeps_every_field` and so on.
///     session_conformance::session_store_suite!(map, || async { MapStore::default() });
///
///     session_conformance::session_store_suite!(served, env "SESSION_TEST_SERVED_URL", |url: String| async move {
///         super::connect(&url).await.expect("a connection")
///     });
/// }
///
/// async fn connect(url: &str) -> session_core::Result<MapStore> {
///     // ...
/// #   let _ = url;
/// #   Ok(MapStore::default())
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! session_store_suite {
    ($name:ident, env $variable:expr, $factory:expr $(,)?) => {
        #[allow(dead_code)]
        fn $name(case: &str) {
            $crate::__private::run_store_from_env(stringify!($name), case, $variable, $factory);
        }
        $crate::__for_each_store_case!(__store_tests $name);
    };
    ($name:ident, $factory:expr $(,)?) => {
        #[allow(dead_code)]
        fn $name(case: &str) {
            $crate::__private::run_store(stringify!($name), case, $factory);
        }
        $crate::__for_each_store_case!(__store_tests $name);
    };
}

/// Tests a cache: one test per case, named `$name::<case>`. In all other respects the same as
/// [`session_store_suite!`].
///
/// The factory returns a fresh, empty cache with room for a thousand entries.
///
/// # Examples
/// ```
/// mod conformance {
///     use session_conformance::reference::MapCache;
///
///     session_conformance::session_cache_suite!(map_cache, || async { MapCache::default() });
///
///     session_conformance::session_cache_suite!(
///         served_cache,
///         env "SESSION_TEST_SERVED_URL",
///         |_url: String| async { MapCache::default() },
///     );
/// }
/// ```
#[macro_export]
macro_rules! session_cache_suite {
    ($name:ident, env $variable:expr, $factory:expr $(,)?) => {
        #[allow(dead_code)]
        fn $name(case: &str) {
            $crate::__private::run_cache_from_env(stringify!($name), case, $variable, $factory);
        }
        $crate::__for_each_cache_case!(__tests $name);
    };
    ($name:ident, $factory:expr $(,)?) => {
        #[allow(dead_code)]
        fn $name(case: &str) {
            $crate::__private::run_cache(stringify!($name), case, $factory);
        }
        $crate::__for_each_cache_case!(__tests $name);
    };
}

/// Tests an invalidation bus: one test per case, named `$name::<case>`. In all other respects the
/// same as [`session_store_suite!`].
///
/// The factory returns a closure that creates the nodes of one bus, which no other test uses. Each
/// call creates one more node.
///
/// # Examples
/// ```
/// mod conformance {
///     use session_runtime::bus::{Bus, LocalChannel};
///
///     session_conformance::session_bus_suite!(local_bus, || async {
///         let channel = LocalChannel::new();
///         move || Bus::new(channel.transport())
///     });
/// }
/// ```
#[macro_export]
macro_rules! session_bus_suite {
    ($name:ident, env $variable:expr, $factory:expr $(,)?) => {
        #[allow(dead_code)]
        fn $name(case: &str) {
            $crate::__private::run_bus_from_env(stringify!($name), case, $variable, $factory);
        }
        $crate::__for_each_bus_case!(__tests $name);
    };
    ($name:ident, $factory:expr $(,)?) => {
        #[allow(dead_code)]
        fn $name(case: &str) {
            $crate::__private::run_bus(stringify!($name), case, $factory);
        }
        $crate::__for_each_bus_case!(__tests $name);
    };
}

/// Creates the tests of a suite. They call the function with the suite's name, which is outside the
/// module so that the names in the factory resolve at the call site of the macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$name:ident $($first:ident)*] $($case:ident),* $(,)?) => {
        $crate::__tests! { @module $name $($first)* $($case)* }
    };
    (@module $name:ident $($case:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $case() {
                    super::$name(stringify!($case));
                }
            )*
        }
    };
}

/// Creates the tests of the store suite: of the cases that need one store, and of those that need
/// two.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_tests {
    ([$name:ident] $($case:ident),* $(,)?) => {
        $crate::__for_each_tenant_case!(__tests $name $($case)*);
    };
}

/// Creates the table of all store cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_table {
    ([] $($case:ident),* $(,)?) => {
        &[$($crate::StoreCase::new(stringify!($case), |harness| Box::pin($crate::store::cases::$case(harness)))),*]
    };
}

/// Creates the table of all cases that need two stores.
#[doc(hidden)]
#[macro_export]
macro_rules! __tenant_table {
    ([] $($case:ident),* $(,)?) => {
        &[$($crate::TenantCase::new(
            stringify!($case),
            |tenants| Box::pin($crate::store::tenants::cases::$case(tenants)),
        )),*]
    };
}

/// Creates the table of all cache cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __cache_table {
    ([] $($case:ident),* $(,)?) => {
        &[$($crate::CacheCase::new(stringify!($case), |harness| Box::pin($crate::cache::cases::$case(harness)))),*]
    };
}

/// Creates the table of all bus cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __bus_table {
    ([] $($case:ident),* $(,)?) => {
        &[$($crate::BusCase::new(stringify!($case), |harness| Box::pin($crate::bus::cases::$case(harness)))),*]
    };
}
