//! The server never receives a client's secret.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use session_core::prelude::*;
use session_core::rules::RequestClient;
use session_core::{Actor, RefreshToken, SecretFormat, SessionToken};
use session_manager::{NewSession, SessionManager, UserLimit};
use session_mongo::LimitMethod;

use crate::plans::capture::{self, Sent};
use crate::support::Lab;

/// The secrets of tokens, in every likely encoding.
#[derive(Default)]
struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Adds the part of a token that is not the id.
    fn add(&mut self, token: &str) {
        let text = token.rsplit('.').next().unwrap();
        let bytes = decoded(text);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let standard = text.replace('-', "+").replace('_', "/");
        let upper = hex.to_uppercase();
        let texts = [text, &hex, &upper, &standard].map(|encoding| encoding.as_bytes().to_vec());
        self.0.extend(texts.into_iter().chain([bytes]));
    }

    fn session(&mut self, token: &SessionToken) {
        self.add(&token.expose());
    }

    fn refresh(&mut self, token: &RefreshToken) {
        self.add(&token.expose());
    }

    fn assert_not_in(&self, documents: &[Document], what: &str) {
        let is_long = |secret: &Vec<u8>| secret.len() >= 16;
        assert!(self.0.iter().all(is_long), "a short secret may match by chance");
        for document in documents {
            let bytes = document.to_vec().unwrap();
            let is_in = self.0.iter().any(|secret| contains(&bytes, secret));
            assert!(!is_in, "{what}: a secret is in {document}");
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Decodes a secret, whose encoding follows from its length.
fn decoded(text: &str) -> Vec<u8> {
    if text.len() == 43 { from_base64url(text) } else { from_hex(&text.replace('-', "")) }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn from_base64url(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = text.chars().map(|digit| u32::try_from(ALPHABET.find(digit).unwrap()).unwrap());
    let (mut bytes, mut rest, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        rest = (rest << 6) | digit;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((rest >> bits) & 0xff).unwrap());
            rest &= (1 << bits) - 1;
        }
    }
    bytes
}

#[test]
fn secret_is_found_in_every_encoding() {
    let mut secrets = Secrets::default();
    secrets.add("id.-__-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw");
    let raw = decoded("-__-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw");
    assert_eq!((raw.len(), &raw[..5]), (32, &[0xfb, 0xff, 0xfe, 0x00, 0x01][..]));
    let binary = mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: raw };
    let within = doc! { "deep": [{ "x": binary }] };
    let result = std::panic::catch_unwind(|| secrets.assert_not_in(&[within], "raw"));
    assert!(result.is_err());
    secrets.assert_not_in(&[doc! { "x": "nothing" }], "nothing");
}

/// Returns all documents of both collections.
async fn stored(lab: &Lab) -> Vec<Document> {
    let mut all = Vec::new();
    for name in [lab.name.clone(), format!("{}_turns", lab.name)] {
        let found = lab.database.collection::<Document>(&name).find(doc! {}).await.unwrap();
        all.extend(found.try_collect::<Vec<_>>().await.unwrap());
    }
    all
}

/// Signs in three times under a limit of two, rotates, refreshes and ends, and checks after each
/// step that no secret was sent.
async fn assert_no_secret_reaches_the_server(
    lab: &Lab,
    sent: &Sent,
    format: SecretFormat,
    method: LimitMethod,
) {
    let store = lab.builder().limit_method(method).build().unwrap();
    store.ensure_indexes().await.unwrap();
    let two = UserLimit::new(NonZeroU32::new(2).unwrap(), OnExceed::EndOldest);
    let builder = SessionManager::builder(store.clone()).with_limit(two).with_secret_format(format);
    // The test does not depend on time.
    let manager = builder.with_store_deadline(Duration::from_secs(30)).build().unwrap();
    let mut secrets = Secrets::default();
    let mut commands = Vec::new();
    for number in 0..3 {
        let new = NewSession::for_user("ann".parse().unwrap()).with_refresh(number != 1);
        let created = manager.create(new).await.unwrap();
        secrets.session(&created.token);
        created.refresh.iter().for_each(|token| secrets.refresh(token));
        assert_eq!(created.ended.len(), usize::from(number == 2));
        secrets.assert_not_in(&stored(lab).await, "create");

        match &created.refresh {
            None => {
                manager.rotate(&created.session).await.unwrap();
                secrets.session(&created.session.take_token().unwrap());
            }
            Some(token) => {
                let refreshed = manager.refresh(&token.expose(), &RequestClient::default()).await.unwrap();
                secrets.session(&refreshed.token);
                secrets.refresh(&refreshed.refresh);
            }
        }
        let documents = stored(lab).await;
        secrets.assert_not_in(&documents, "renew");
        commands.extend(sent.take());
        assert_contains_hash(&store, created.session.id(), &documents, &commands).await;
    }
    let ended = manager.revoke_all(&"ann".parse().unwrap(), &Actor::System).await.unwrap();
    assert_eq!(ended.len(), 2);
    commands.extend(sent.take());
    secrets.assert_not_in(&stored(lab).await, "end");
    secrets.assert_not_in(&commands, "commands");
    manager.shutdown().await;
}

/// Asserts that the hash of the secret was sent. Otherwise the search for secrets could not find
/// anything either.
async fn assert_contains_hash(
    store: &impl SessionStore,
    id: SessionId,
    documents: &[Document],
    commands: &[Document],
) {
    let record = store.load(&[id]).await.unwrap().remove(0);
    let hash = record.secret.as_ref().unwrap().to_bytes();
    for all in [documents, commands] {
        assert!(all.iter().any(|document| contains(&document.to_vec().unwrap(), &hash)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_any_format_never_reach_the_server() {
    for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
        for format in [SecretFormat::Urlsafe256, SecretFormat::Hex160, SecretFormat::Uuid] {
            let Some((lab, sent)) = capture::lab().await else { return };
            assert_no_secret_reaches_the_server(&lab, &sent, format, method).await;
        }
    }
}
