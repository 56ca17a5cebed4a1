//! The two people who can sign in.

/// A demo user, with the password that the sign-in page shows.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DemoUser {
    /// The name to sign in with.
    pub id: &'static str,
    /// The name to be greeted by.
    pub name: &'static str,
    /// In plain text, because everybody may know it. A real site keeps a slow, salted hash.
    pub password: &'static str,
}

/// Ann and Bob.
pub const DEMO_USERS: [DemoUser; 2] = [
    DemoUser { id: "ann", name: "Ann", password: "monstera" },
    DemoUser { id: "bob", name: "Bob", password: "calathea" },
];

/// Finds the user that a name and a password belong to.
pub(crate) fn check(id: &str, password: &str) -> Option<DemoUser> {
    DEMO_USERS.into_iter().find(|user| user.id == id && user.password == password)
}
