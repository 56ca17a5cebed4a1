//! Records of unusual shape: every field that may be absent, every value of every enum.

use std::sync::Arc;
use std::time::Duration;

use session_core::limits::{MAX_AUTH_EVENTS, MAX_SPENT};
use session_core::{
    AuthEvent, AuthMethod, ClientInfo, DeviceKind, LastClient, PreviousSecret, RefreshState, RotationSalt,
    SecretState, SessionKind, SessionRecord,
};

use super::{ago, assert_stored};
use crate::fixtures::{anonymous, at, full, hash, record};
use crate::harness::Harness;

async fn assert_kept(h: &Harness, record: &SessionRecord) {
    h.given(record).await;
    assert_stored(h, record).await;
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Each optional field is kept when it is the only one present, and when it is the only one
/// missing. Catches fields that are stored in pairs, and one field's absence read as another's.
pub async fn each_optional_field_is_kept_alone(h: Harness) {
    let copies: [fn(&mut SessionRecord, &SessionRecord); 13] = [
        |to, from| (to.id, to.user_id) = (from.id, from.user_id.clone()),
        |to, from| to.username.clone_from(&from.username),
        |to, from| to.idle_timeout = from.idle_timeout,
        |to, from| to.remembered = from.remembered,
        |to, from| to.credential_version = from.credential_version,
        |to, from| to.secret.clone_from(&from.secret),
        |to, from| to.refresh.clone_from(&from.refresh),
        |to, from| to.auth.clone_from(&from.auth),
        |to, from| to.client = Arc::clone(&from.client),
        |to, from| to.last_client = from.last_client.clone(),
        |to, from| to.device_id = from.device_id,
        |to, from| to.label.clone_from(&from.label),
        |to, from| to.data = Arc::clone(&from.data),
    ];
    for copy in copies {
        let (mut filled, mut bare) = (full("ann"), anonymous());
        bare.secret = None;
        let (bare_before, filled_before) = (bare.clone(), filled.clone());
        copy(&mut bare, &filled_before);
        copy(&mut filled, &bare_before);
        assert_kept(&h, &bare).await;
        assert_kept(&h, &filled).await;
    }
}

/// Each detail of a client is kept when it is the only one.
pub async fn each_detail_of_a_client_is_kept_alone(h: Harness) {
    let fills: [fn(&mut ClientInfo); 15] = [
        |client| client.ip = "192.0.2.1".parse().ok(),
        |client| client.ip = "2001:db8:1:2:3:4:5:6".parse().ok(),
        |client| client.user_agent = text("Agent/1.0"),
        |client| client.device.kind = Some(DeviceKind::Bot),
        |client| client.device.brand = text("brand"),
        |client| client.device.model = text("model"),
        |client| client.device.os = text("os"),
        |client| client.device.os_version = text("os version"),
        |client| client.device.browser = text("browser"),
        |client| client.device.browser_version = text("browser version"),
        |client| client.geo.country_code = text("ZZ"),
        |client| client.geo.country = text("country"),
        |client| client.geo.region = text("region"),
        |client| client.geo.city = text("city"),
        |client| client.geo.coordinates = Some((1.0, 2.0)),
    ];
    for fill in fills {
        let mut record = anonymous();
        let mut client = ClientInfo::default();
        fill(&mut client);
        record.client = Arc::new(client);
        assert_kept(&h, &record).await;
    }
}

/// Empty text is not absent text, where a field may be empty.
pub async fn empty_and_absent_texts_are_kept_apart(h: Harness) {
    let fills: [fn(&mut ClientInfo); 10] = [
        |client| client.user_agent = text(""),
        |client| client.device.brand = text(""),
        |client| client.device.model = text(""),
        |client| client.device.os = text(""),
        |client| client.device.os_version = text(""),
        |client| client.device.browser = text(""),
        |client| client.device.browser_version = text(""),
        |client| client.geo.country = text(""),
        |client| client.geo.region = text(""),
        |client| client.geo.city = text(""),
    ];
    for fill in fills {
        let mut record = anonymous();
        let mut client = ClientInfo::default();
        fill(&mut client);
        record.client = Arc::new(client);
        assert_kept(&h, &record).await;
    }
}

/// Secrets with and without expiry and predecessor are kept, and refresh tokens with and without
/// them, in every combination.
pub async fn every_shape_of_secrets_is_kept(h: Harness) {
    let rotated = |number: u8| {
        let mut state = SecretState::new(hash(number));
        let salt = RotationSalt::from_bytes([number; 32]);
        state.previous = Some(PreviousSecret::new(hash(number + 1), salt, at(u64::from(number))));
        state
    };
    let ending = |mut state: SecretState| {
        state.expires_at = Some(at(77));
        state
    };
    let shapes = |number| {
        let plain = SecretState::new(hash(number));
        [None, Some(plain.clone()), Some(ending(plain)), Some(rotated(number)), Some(ending(rotated(number)))]
    };
    let (secrets, refreshes) = (shapes(10), shapes(40));
    for secret in &secrets {
        for refresh in &refreshes {
            let mut record = record("ann");
            record.secret.clone_from(secret);
            record.refresh = refresh.clone().map(|secret| {
                let mut state = RefreshState::new(hash(50), at(5_000));
                state.secret = secret;
                state
            });
            assert_kept(&h, &record).await;
        }
    }
}

/// Spent secrets keep their number and their order, from none to eight, including equal ones.
pub async fn spent_secrets_keep_their_order(h: Harness) {
    for count in 0..=MAX_SPENT {
        let mut record = full("ann");
        let mut refresh = RefreshState::new(hash(1), at(9_000));
        refresh.spent = [9, 3, 7, 7, 1, 8, 2, 3].into_iter().take(count).map(hash).collect();
        record.refresh = Some(refresh);
        assert_kept(&h, &record).await;
    }
}

/// Every authentication method is kept, including the application's own.
pub async fn every_authentication_method_is_kept(h: Harness) {
    let own = ["badge", "Password", "pass word", "ключ", &"x".repeat(64)].map(str::to_owned);
    let mut methods = vec![
        AuthMethod::Email,
        AuthMethod::Federated,
        AuthMethod::Passkey,
        AuthMethod::Password,
        AuthMethod::RecoveryCode,
        AuthMethod::SecurityKey,
        AuthMethod::Sms,
        AuthMethod::Totp,
    ];
    methods.extend(own.map(AuthMethod::Other));
    for method in &methods {
        let mut record = record("ann");
        record.auth = vec![AuthEvent::new(method.clone(), at(3))];
        assert_kept(&h, &record).await;
    }
}

/// Authentications keep their number and their order, from none to sixteen, even if they are equal
/// or not sorted by time.
pub async fn authentications_keep_their_order(h: Harness) {
    for count in [0, 1, 2, 3, MAX_AUTH_EVENTS - 1, MAX_AUTH_EVENTS] {
        let mut record = record("ann");
        let times = [5, 5, 3, 9].into_iter().cycle();
        let methods = [AuthMethod::Totp, AuthMethod::Totp, AuthMethod::Password].into_iter().cycle();
        let events = methods.zip(times).map(|(method, millis)| AuthEvent::new(method, at(millis)));
        record.auth = events.take(count).collect();
        assert_kept(&h, &record).await;
    }
}

/// Every kind of session and every kind of device is kept.
pub async fn every_kind_of_session_and_device_is_kept(h: Harness) {
    for session in SessionKind::ALL {
        for device in DeviceKind::ALL {
            let mut record = record("ann");
            (record.kind, record.secret) = (*session, None);
            let mut client = ClientInfo::default();
            client.device.kind = Some(*device);
            record.client = Arc::new(client);
            assert_kept(&h, &record).await;
        }
    }
}

/// Large numbers keep every digit. Catches numbers that pass through a float, which holds 53 bits.
pub async fn large_numbers_keep_every_digit(h: Harness) {
    for number in [0, 1, (1 << 53) + 1, i64::MAX.unsigned_abs() - 1, i64::MAX.unsigned_abs()] {
        let mut record = full("ann");
        record.credential_version = Some(number);
        let mut refresh = RefreshState::new(hash(1), at(9_000));
        refresh.generation = number;
        record.refresh = Some(refresh);
        assert_kept(&h, &record).await;
    }
}

/// Addresses of both families are kept, including the lowest and the highest.
pub async fn addresses_of_both_families_are_kept(h: Harness) {
    let addresses = [
        "0.0.0.0",
        "127.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "64:ff9b::1",
        "2001:db8::ff",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    for address in addresses {
        let address = address.parse().ok();
        let mut record = record("ann");
        record.client = Arc::new(ClientInfo::new(address, None));
        record.last_client = LastClient::new(address, None);
        assert_kept(&h, &record).await;
    }
}

/// Coordinates are read back as the same numbers, to the last bit. Catches decimals of a few
/// digits.
pub async fn coordinates_keep_every_digit(h: Harness) {
    let places =
        [(90.0, 180.0), (-90.0, -180.0), (0.0, 0.0), (48.137_154_321_098_76, -0.000_000_123_456_789)];
    for place in places {
        let mut record = record("ann");
        let mut client = ClientInfo::default();
        client.geo.coordinates = Some(place);
        record.client = Arc::new(client);
        assert_kept(&h, &record).await;
    }
}

/// Times are kept in any order: used, remembered or authenticated before or after the creation, and
/// the like.
pub async fn times_in_any_order_are_kept(h: Harness) {
    let fills: [fn(&mut SessionRecord); 5] = [
        |record| record.authenticated_at = ago(5_000),
        |record| record.authenticated_at = at(50_000_000),
        |record| record.last_seen_at = at(50_000_000),
        |record| record.idle_timeout = Some(Duration::from_secs(90_000)),
        |record| record.refresh = Some(RefreshState::new(hash(1), ago(1))),
    ];
    for fill in fills {
        let mut record = record("ann");
        fill(&mut record);
        assert_kept(&h, &record).await;
    }
}
