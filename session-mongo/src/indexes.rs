//! The indexes, their creation and their verification.

use std::fmt;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind as DriverKind;
use mongodb::options::IndexOptions;
use session_core::Error;

use crate::document::ENDED;
use crate::error::Trouble;
use crate::store::MongoStore;

/// Why the indexes are not as the store needs them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The database failed. The source of the source is the driver's error.
    #[error("the indexes cannot be read or created")]
    Database(#[source] Error),
    /// Some indexes are missing or have other options.
    #[error("{}", listed(.0))]
    Different(Vec<IndexProblem>),
}

/// A problem with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexProblem {
    /// The name of the index.
    pub index: &'static str,
    /// The difference from the required index.
    pub what: Difference,
}

/// How an index differs from the one that the store needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// It does not compare strings byte by byte, because the collection was created with a
    /// collation.
    Collation,
    /// It has other fields or directions.
    Fields,
    /// It is hidden from the planner.
    Hidden,
    /// It does not exist.
    Missing,
    /// It has another partial filter, or a filter where there must be none.
    Partial,
    /// It expires documents at another time, expires none, or expires some where it must not.
    Ttl,
    /// It is unique or sparse.
    Unique,
}

impl fmt::Display for IndexProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Difference::Collation => "has a collation (create the collection without one)",
            Difference::Fields => "is on other fields (drop it, and create it again)",
            Difference::Hidden => "is hidden",
            Difference::Missing => "is missing",
            Difference::Partial => "has another partial filter (drop it, and create it again)",
            Difference::Ttl => "has another expiry time (drop it, and create it again)",
            Difference::Unique => "is unique or sparse (drop it, and create it again)",
        };
        write!(f, "{} {what}", self.index)
    }
}

fn listed(problems: &[IndexProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    format!("the index {}", texts.join(", the index "))
}

/// An index that the store needs.
struct Index {
    name: &'static str,
    keys: Document,
    /// The partial filter: the index contains only the documents that match it.
    only: Option<Document>,
    /// Whether the server deletes a document at the time in the indexed field.
    deletes: bool,
}

impl Index {
    fn new(name: &'static str, keys: Document) -> Self {
        Self { name, keys, only: None, deletes: false }
    }

    fn model(&self) -> IndexModel {
        let options = IndexOptions::builder().name(self.name.to_owned());
        let options = options.partial_filter_expression(self.only.clone());
        let options = options.expire_after(self.deletes.then_some(Duration::ZERO)).build();
        IndexModel::builder().keys(self.keys.clone()).options(options).build()
    }

    fn differs_from(&self, found: &IndexModel) -> Option<Difference> {
        let options = found.options.clone().unwrap_or_default();
        let wrong = [
            (Difference::Fields, !is_same(&found.keys, &self.keys)),
            (Difference::Unique, options.unique == Some(true) || options.sparse == Some(true)),
            (Difference::Partial, options.partial_filter_expression != self.only),
            (Difference::Ttl, options.expire_after != self.deletes.then_some(Duration::ZERO)),
            (Difference::Collation, options.collation.is_some()),
            (Difference::Hidden, options.hidden == Some(true)),
        ];
        wrong.into_iter().find(|(_, is_so)| *is_so).map(|(difference, _)| difference)
    }
}

/// Returns true if the fields and directions are the same. Servers return the directions as any
/// type of number.
fn is_same(one: &Document, other: &Document) -> bool {
    let directions = |keys: &Document| -> Vec<_> {
        keys.iter().map(|(name, value)| (name.clone(), value.to_string().parse::<f64>().ok())).collect()
    };
    directions(one) == directions(other)
}

/// Returns all indexes, each with the operations that it serves.
fn all() -> [Index; 6] {
    [
        // Listings of a user, ends of a user, sign-ins under a limit, erasure.
        Index::new("session_user", doc! { "userId": 1, "state": 1, "createdAt": -1, "_id": -1 }),
        // Listings by name.
        Index::new("session_username", doc! { "username": 1, "state": 1, "createdAt": -1, "_id": -1 }),
        // Listings of all users.
        Index::new("session_created", doc! { "createdAt": -1, "_id": -1 }),
        // Sweeps.
        Index::new("session_deadline", doc! { "state": 1, "deadlineAt": 1 }),
        // Purges.
        Index { only: Some(doc! { "state": ENDED }), ..Index::new("session_end", doc! { "end.at": 1 }) },
        // The server's own purge.
        Index { deletes: true, ..Index::new("session_purge", doc! { "purgeAt": 1 }) },
    ]
}

impl MongoStore {
    /// Creates the missing indexes, and checks the others. Any number of processes may call it at
    /// once.
    ///
    /// On a collection with many sessions it takes a while. The server continues to serve requests
    /// in the meantime.
    ///
    /// # Errors
    /// Same as [`verify`](Self::verify). An existing index with other options stays unchanged: drop
    /// it, and call this method again.
    pub async fn ensure_indexes(&self) -> Result<(), IndexError> {
        let problems = self.problems().await?;
        let is_missing =
            |index: &Index| problems.contains(&IndexProblem { index: index.name, what: Difference::Missing });
        let missing: Vec<_> = all().iter().filter(|index| is_missing(index)).map(Index::model).collect();
        if !missing.is_empty() {
            let created = self.sessions.create_indexes(missing).await.map_err(Trouble::from);
            created.map_err(|trouble| IndexError::Database(trouble.into_error("ensure_indexes")))?;
        }
        self.verify().await
    }

    /// Checks that all indexes exist with the required options, and changes nothing. Call it at the
    /// start of a service whose indexes are created by other means.
    ///
    /// The indexes do not affect which sessions are valid. They determine how many documents the
    /// server reads for a query, and whether it deletes ended sessions that no sweep purges.
    ///
    /// # Errors
    /// [`IndexError::Different`] names each index that is missing or has other options.
    /// [`IndexError::Database`] means that the indexes could not be read.
    pub async fn verify(&self) -> Result<(), IndexError> {
        let problems = self.problems().await?;
        if problems.is_empty() { Ok(()) } else { Err(IndexError::Different(problems)) }
    }

    async fn problems(&self) -> Result<Vec<IndexProblem>, IndexError> {
        let found = self.found().await;
        let found = found.map_err(|trouble| IndexError::Database(trouble.into_error("verify")))?;
        let problem = |index: &Index| {
            let named = found.iter().find(|found| name(found) == Some(index.name));
            let what = named.map_or(Some(Difference::Missing), |found| index.differs_from(found))?;
            Some(IndexProblem { index: index.name, what })
        };
        Ok(all().iter().filter_map(problem).collect())
    }

    async fn found(&self) -> Result<Vec<IndexModel>, Trouble> {
        match self.sessions.list_indexes().await {
            Ok(found) => Ok(found.try_collect().await?),
            // NamespaceNotFound: the collection has never been written to.
            Err(error) if matches!(error.kind.as_ref(), DriverKind::Command(error) if error.code == 26) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn name(model: &IndexModel) -> Option<&str> {
    model.options.as_ref()?.name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_differs_from_every_other_but_not_from_its_model() {
        for index in all() {
            assert_eq!(index.differs_from(&index.model()), None, "{}", index.name);
            for other in all().iter().filter(|other| other.name != index.name) {
                assert!(index.differs_from(&other.model()).is_some(), "{} {}", index.name, other.name);
            }
        }
    }

    #[test]
    fn directions_are_numbers_of_any_type() {
        let one = doc! { "a": 1, "b": -1 };
        assert!(is_same(&one, &doc! { "a": 1.0, "b": -1_i64 }));
        assert!(!is_same(&one, &doc! { "b": -1, "a": 1 }) && !is_same(&one, &doc! { "a": 1, "b": 1 }));
    }
}
