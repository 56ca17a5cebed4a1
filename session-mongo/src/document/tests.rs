use data_encoding::HEXLOWER;
use mongodb::bson::RawDocumentBuf;
use session_conformance::fixtures::fixed;

use super::read::{Part, read};
use super::*;

/// A golden file: every later version must read what this one wrote.
#[test]
fn documents_are_written_as_they_were() {
    let (record, golden) = (fixed("ann"), include_str!("../../golden/document.hex").trim());
    let document = RawDocumentBuf::try_from(&new(&record)).unwrap();
    assert_eq!(HEXLOWER.encode(document.as_bytes()), golden, "document.hex");
    let bytes = HEXLOWER.decode(golden.as_bytes()).unwrap();
    let document = RawDocumentBuf::from_bytes(bytes).unwrap();
    assert_eq!(read(&document, Part::Whole).unwrap(), Some(record));
}
