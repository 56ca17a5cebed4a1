//! The mistakes, each with the case that catches it.

/// Defines an enum of mistakes: `Name: "what is wrong", case_that_catches_it;`.
macro_rules! bugs {
    ($(#[$attribute:meta])* $type:ident { $($bug:ident: $what:literal, $case:ident;)+ }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type {
            $(#[doc = concat!("In one sentence: ", $what, ".")] $bug,)+
        }

        impl $type {
            /// Every mistake.
            pub const ALL: &'static [Self] = &[$(Self::$bug),+];

            /// Returns a sentence that describes the mistake.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$bug => $what),+ }
            }

            /// Returns the name of the case that must catch it. Other cases may catch it, too.
            #[must_use]
            pub const fn caught_by(self) -> &'static str {
                match self { $(Self::$bug => stringify!($case)),+ }
            }
        }
    };
}

mod bus;
mod cache;
mod store;
mod tenant;

pub use bus::BusBug;
pub use cache::CacheBug;
pub use store::Bug;
pub use tenant::TenantBug;
