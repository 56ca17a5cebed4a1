//! Text is compared and kept byte by byte: no folding, no trimming, no normalisation, no
//! interpretation.

use std::sync::Arc;

use session_core::limits::{MAX_LABEL, MAX_TEXT, MAX_USER_AGENT, MAX_USER_ID};
use session_core::{ClientInfo, EndScope, ListQuery, OnExceed, Revision, SessionRecord};

use super::{assert_all_stored, assert_stored, found, given_all, ids_of, live, stats};
use crate::fixtures::{at, id_at, limit, logged_out, record, record_at, user};
use crate::harness::Harness;

const CASE: &[&str] = &["Ann", "ann", "ANN", "aNn"];
const SPACES: &[&str] = &["ann", " ann", "ann ", "ann  ", "an n", "ann\t", "\u{a0}ann", "ann\u{200b}", " "];
const UNICODE: &[&str] = &[
    "e",
    "é",
    "e\u{301}",
    "É",
    "ss",
    "ß",
    "ẞ",
    "i",
    "ı",
    "İ",
    "fi",
    "ﬁ",
    "a",
    "ａ",
    "а",
    "æ",
    "ae",
    "Ω",
    "\u{2126}",
    "a\u{ad}",
    "a\u{200d}",
    "\u{feff}a",
    "ي",
    "ى",
];
const EMOJI: &[&str] =
    &["😀", "😁", "😀😀", "👩", "👩\u{200d}💻", "👩🏽", "\u{10ffff}", "𝔞", "?", "??", "????"];
const WILDCARDS: &[&str] = &[
    "a%", "a_", "ab", "a\\", "a\\%", "a\\\\", "%", "_", "a*", "a?", "[ab]", "[a-z]b", "a.*", ".*", "^a", "*",
    "abc",
];
const QUERIES: &[&str] = &[
    "ann",
    "' OR 1=1 --",
    "ann'; DROP TABLE sessions; --",
    "''",
    "\"",
    "`ann`",
    "$1",
    "?",
    ":user",
    "{\"$ne\":null}",
    "{\"$gt\":\"\"}",
    "$where",
    "$user_id",
    "ann\r\nFLUSHALL\r\n",
    "@user:{ann}",
    "ann) OR (1=1",
];
const SEPARATORS: &[&str] = &[
    "a", "a:b", "a:b:c", "a:", ":a", "a.b", "a.", "a/b", "../a", "a|b", "a,b", "{a}", "{a}b", "a-b", "a b",
    "a;b", "a=b", "a#b", "a@b", "ab", "a\u{1e}b", "a\u{1d}b",
];
const NUMBERS: &[&str] = &[
    "1",
    "01",
    "1.0",
    "1e0",
    "+1",
    "0x1",
    "１",
    "0",
    "-0",
    "true",
    "false",
    "null",
    "NULL",
    "None",
    "NaN",
    "(null)",
    "undefined",
    "9007199254740993",
    "9007199254740992",
];
const CONTROLS: &[&str] =
    &["a", "a\u{1}", "a\u{7f}", "a\n", "a\r", "a\r\n", "\u{1b}[31ma", "a\u{85}", "a\u{2028}", "\u{202e}a"];

/// Asserts that users with these ids are different users in every method that takes a user id.
async fn assert_different_users(h: &Harness, names: &[&str]) {
    let session = |name: &&str| {
        let mut record = record(name);
        record.username = None;
        record
    };
    let records: Vec<_> = names.iter().map(session).collect();
    given_all(h, &records).await;
    assert_all_stored(h, &records).await;
    for (name, first) in names.iter().zip(&records) {
        let second = session(name);
        let ended = h.create(&second, &limit(2, OnExceed::Refuse, 1)).await;
        assert!(ended.expect("a limit counts other users").is_empty());
        assert_eq!(live(h, name, 1).await, ids_of([first, &second]), "{name:?} is listed with others");
    }
    assert_eq!(stats(h, 1).await.users, names.len() as u64);
    for (left, name) in (0..names.len() as u64).rev().zip(names) {
        assert_eq!(h.end(&EndScope::User(user(name)), &logged_out(1)).await.len(), 2, "{name:?} and others");
        assert_eq!(stats(h, 1).await.users, left);
    }
}

/// Asserts that a list by user name separates sessions with these names.
async fn assert_different_names(h: &Harness, names: &[&str]) {
    let records: Vec<_> = (0..)
        .zip(names)
        .map(|(millis, name)| {
            let mut record = record_at("ann", millis);
            record.username = Some((*name).to_owned());
            record
        })
        .collect();
    given_all(h, &records).await;
    assert_all_stored(h, &records).await;
    for (name, record) in names.iter().zip(&records) {
        let query = ListQuery::default().with_username(*name);
        assert_eq!(found(h, query).await, [record.id], "{name:?} is listed with others");
    }
}

/// Users whose ids differ by letter case are different.
pub async fn user_ids_differ_by_case(h: Harness) {
    assert_different_users(&h, CASE).await;
}

/// Users whose ids differ by white space, inside or at the ends, are different. Catches padded
/// comparison and trimming.
pub async fn user_ids_differ_by_spaces(h: Harness) {
    assert_different_users(&h, SPACES).await;
}

/// Users whose ids differ by Unicode form are different, even if the forms look the same or a
/// collation treats them as equal.
pub async fn user_ids_differ_by_unicode_form(h: Harness) {
    assert_different_users(&h, UNICODE).await;
}

/// Characters of four bytes are kept, not truncated and not replaced.
pub async fn user_ids_keep_characters_of_four_bytes(h: Harness) {
    assert_different_users(&h, EMOJI).await;
}

/// Pattern characters have no special meaning.
pub async fn user_ids_are_not_patterns(h: Harness) {
    assert_different_users(&h, WILDCARDS).await;
}

/// Text of queries, commands and operators is plain text.
pub async fn user_ids_are_not_queries(h: Harness) {
    assert_different_users(&h, QUERIES).await;
}

/// Separators of keys and paths do not separate. Catches composed keys that collide.
pub async fn user_ids_may_contain_separators(h: Harness) {
    assert_different_users(&h, SEPARATORS).await;
}

/// Text that resembles a number, a boolean or a null is plain text.
pub async fn user_ids_are_not_numbers(h: Harness) {
    assert_different_users(&h, NUMBERS).await;
}

/// Control characters are kept.
pub async fn user_ids_may_contain_control_characters(h: Harness) {
    assert_different_users(&h, CONTROLS).await;
}

/// User ids of 255 bytes are compared up to the last byte. Catches indexes and columns that hold a
/// prefix.
pub async fn user_ids_of_255_bytes_differ_by_the_last(h: Harness) {
    let stem = "u".repeat(MAX_USER_ID - 1);
    let wide = "é".repeat(127);
    let names = [format!("{stem}a"), format!("{stem}b"), stem, format!("{wide}a"), format!("{wide}b"), wide];
    assert_different_users(&h, &names.each_ref().map(String::as_str)).await;
}

/// User names are found by their exact bytes, too: by case, space and form.
pub async fn user_names_differ_by_case_space_and_form(h: Harness) {
    let names: Vec<_> = CASE.iter().chain(&SPACES[1..]).chain(UNICODE).chain(EMOJI).copied().collect();
    assert_different_names(&h, &names).await;
}

/// User names are neither patterns, queries nor numbers.
pub async fn user_names_are_not_interpreted(h: Harness) {
    let mut names: Vec<_> = [WILDCARDS, QUERIES, SEPARATORS, NUMBERS, CONTROLS].concat();
    names.sort_unstable();
    names.dedup();
    assert_different_names(&h, &names).await;
}

/// User names of 255 bytes are compared up to the last byte.
pub async fn user_names_of_255_bytes_differ_by_the_last(h: Harness) {
    let stem = "n".repeat(MAX_USER_ID - 1);
    let names = [format!("{stem}a"), format!("{stem}b"), stem, format!("{}a", "ö".repeat(127))];
    assert_different_names(&h, &names.each_ref().map(String::as_str)).await;
}

/// Labels are read back unchanged, after create and after update, up to 100 characters of four
/// bytes.
pub async fn labels_are_kept_byte_by_byte(h: Harness) {
    let longest = "🦊".repeat(MAX_LABEL);
    let mut labels = vec![longest.as_str(), "a", " ", "  two  ", "tab\t", "\n", "NULL"];
    labels.extend(UNICODE.iter().chain(QUERIES).chain(CONTROLS));
    let mut record = record("ann");
    record.label = Some("first".to_owned());
    h.given(&record).await;
    for label in labels {
        record.label = Some(label.to_owned());
        record.revision = h.update(&record, record.revision).await.expect("update");
        assert_stored(&h, &record).await;
    }
    record.id = id_at(at(0), record.user_id.as_ref());
    record.revision = Revision::FIRST;
    record.label = Some(longest);
    h.given(&record).await;
    assert_stored(&h, &record).await;
}

/// The texts that describe a client are kept unchanged, up to the maximum length.
pub async fn client_texts_are_kept_byte_by_byte(h: Harness) {
    let with = |text: &str| {
        let text = || Some(text.to_owned());
        let mut client = ClientInfo::default();
        client.user_agent = text();
        (client.device.brand, client.device.model) = (text(), text());
        (client.device.os, client.device.os_version) = (text(), text());
        (client.device.browser, client.device.browser_version) = (text(), text());
        (client.geo.country, client.geo.region, client.geo.city) = (text(), text(), text());
        client
    };
    let wide = "🦊".repeat(MAX_TEXT / 4);
    let mut clients: Vec<_> = [QUERIES, CONTROLS, EMOJI, SPACES].concat().into_iter().map(with).collect();
    clients.push(with(&wide));
    let mut longest = with(&"x".repeat(MAX_TEXT));
    longest.user_agent = Some("y".repeat(MAX_USER_AGENT));
    clients.push(longest);
    let records: Vec<SessionRecord> = clients
        .into_iter()
        .map(|client| {
            let mut record = record("ann");
            record.client = Arc::new(client);
            record
        })
        .collect();
    given_all(&h, &records).await;
    assert_all_stored(&h, &records).await;
}
