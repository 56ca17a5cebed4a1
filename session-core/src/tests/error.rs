use std::error::Error as _;

use super::NOW;
use crate::{Actor, EndReason, Ended, Error, ErrorKind, Revision};

#[test]
fn evidence_belongs_to_its_kind() {
    let revision = Revision::new(9).unwrap();
    let conflict = Error::conflict("memory", "update", revision);
    assert_eq!((conflict.kind(), conflict.current_revision()), (ErrorKind::Conflict, Some(revision)));
    let ended = Error::ended("memory", "update", Ended::new(EndReason::LoggedOut, NOW, Actor::System));
    assert_eq!(ended.ended_session().unwrap().reason, EndReason::LoggedOut);
    assert!(ended.current_revision().is_none() && ended.live_sessions().is_empty());
}

#[test]
fn only_outages_are_transient() {
    let transient = [ErrorKind::Timeout, ErrorKind::Unavailable];
    for kind in
        [ErrorKind::NotFound, ErrorKind::Corrupt, ErrorKind::Conflict, ErrorKind::Other, ErrorKind::Invalid]
    {
        assert!(!Error::new(kind, "x", "y").is_transient());
    }
    assert!(transient.into_iter().all(|kind| Error::new(kind, "x", "y").is_transient()));
}

#[test]
fn the_source_is_reachable_and_not_printed() {
    let error = Error::other("redis", "load", "password was s3cret");
    assert_eq!(error.to_string(), "redis load: other");
    assert_eq!(error.source().unwrap().to_string(), "password was s3cret");
}
