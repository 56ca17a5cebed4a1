//! The indexes: which there are, and whether the database has them.

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
    /// The database failed. What it said is the source of the source.
    #[error("the indexes cannot be read or created")]
    Database(#[source] Error),
    /// Some are missing, or have other options.
    #[error("{}", listed(.0))]
    Different(Vec<IndexProblem>),
}

/// What is wrong with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexProblem {
    /// Its name.
    pub index: &'static str,
    /// What is wrong.
    pub what: Difference,
}

/// How an index differs from the one that the store needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// Its text compares otherwise than byte by byte, because the collection was created with a collation.
    Collation,
    /// It is on other fields.
    Fields,
    /// It is hidden from the planner.
    Hidden,
    /// There is none.
    Missing,
    /// It has only some of the documents, or others than it should.
    Partial,
    /// It deletes documents at another time, or does not.
    Ttl,
    /// It refuses equal entries.
    Unique,
}

impl fmt::Display for IndexProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Difference::Collation => "has a collation (create the collection without one)",
            Difference::Fields => "is on other fields (drop it, and create it again)",
            Difference::Hidden => "is hidden",
            Difference::Missing => "is missing",
            Difference::Partial => "is partial in another way (drop it, and create it again)",
            Difference::Ttl => "deletes at another time (drop it, and create it again)",
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
    /// Has only these documents.
    only: Option<Document>,
    /// Deletes a document when the time in the field has come.
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

/// Whether the fields and directions are the same: servers tell the directions as any type of number.
fn is_same(one: &Document, other: &Document) -> bool {
    let directions = |keys: &Document| -> Vec<_> {
        keys.iter().map(|(name, value)| (name.clone(), value.to_string().parse::<f64>().ok())).collect()
    };
    directions(one) == directions(other)
}

/// What serves which operation.
fn all() -> [Index; 6] {
    [
        // Listings of a user, ends of a user, sign-ins under a limit, erasure.
        Index::new("session_user", doc! { "userId": 1, "state": 1, "createdAt": -1, "_id": -1 }),
        // Listings by name.
        Index::new("session_username", doc! { "username": 1, "state": 1, "createdAt": -1, "_id": -1 }),
        // Listings of everybody.
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
    /// Creates the indexes that are missing, and checks the others. Safe however many processes call it at once.
    ///
    /// On a collection with many sessions the server takes a while for it, and goes on serving meanwhile.
    ///
    /// # Errors
    /// As [`verify`](Self::verify). An index that is there with other options is left as it is: drop it, and call this again.
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

    /// Checks that the indexes are there as the store needs them, and changes nothing. To be called at the start of a service, if
    /// somebody else creates them.
    ///
    /// Nothing becomes invalid or valid without them: what they decide is how many documents the server reads for an answer, and
    /// whether it deletes ended sessions that nobody purges.
    ///
    /// # Errors
    /// [`IndexError::Different`] names each that is missing or has other options, and [`IndexError::Database`] is that it cannot be
    /// known.
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
            // NamespaceNotFound: nothing was ever written to the collection.
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
    fn an_index_is_the_one_that_it_creates_and_no_other() {
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
