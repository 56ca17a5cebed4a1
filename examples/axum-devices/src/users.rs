//! The two demo users.

/// A demo user, with the password that the sign-in page shows.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DemoUser {
    /// The name to sign in with.
    pub id: &'static str,
    /// The displayed name.
    pub name: &'static str,
    /// In plain text, because it is public. A real site stores a slow, salted hash.
    pub password: &'static str,
}

/// Ann and Bob.
pub const DEMO_USERS: [DemoUser; 2] = [
    DemoUser { id: "ann", name: "Ann", password: "monstera" },
    DemoUser { id: "bob", name: "Bob", password: "calathea" },
];

/// Returns the user if the password is right.
pub(crate) fn check(id: &str, password: &str) -> Option<DemoUser> {
    DEMO_USERS.into_iter().find(|user| user.id == id && user.password == password)
}
