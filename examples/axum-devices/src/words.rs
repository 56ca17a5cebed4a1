//! Times, prices and reasons as text.

use std::time::Duration;

use session_manager::core::{AssuranceLevel, AuthMethod, EndReason, Timestamp};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Formats a past time: "3 minutes ago".
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        passed if passed < Duration::from_secs(10) => "just now".to_owned(),
        passed => format!("{} ago", span(passed)),
    }
}

/// Formats a future time: "in 3 minutes".
pub(crate) fn until(at: Timestamp, now: Timestamp) -> String {
    match at.since(now) {
        Duration::ZERO => "now".to_owned(),
        left => format!("in {}", span(left)),
    }
}

/// Formats a duration in the largest unit that fits. Rounds down, so that no page promises more
/// time than is left.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs().max(1);
    let (count, unit) = match seconds {
        DAY.. => (seconds / DAY, "day"),
        HOUR.. => (seconds / HOUR, "hour"),
        MINUTE.. => (seconds / MINUTE, "minute"),
        _ => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// Formats the countdown: "1:05".
pub(crate) fn clock(left: Duration) -> String {
    let seconds = left.as_secs();
    let (hours, minutes, seconds) = (seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Formats a price: "12.50 €".
pub(crate) fn price(cents: u32) -> String {
    format!("{}.{:02} €", cents / 100, cents % 100)
}

/// Explains why a session ended.
pub(crate) fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::AbsoluteTimeout => "Reached the end of its time",
        EndReason::CredentialChanged => "Password was changed",
        EndReason::IdleTimeout => "Not used for too long",
        EndReason::LimitEvicted => "Made room for a newer sign-in",
        EndReason::LoggedOut => "Signed out on the device",
        EndReason::RevokedByAdmin => "Signed out by support",
        EndReason::RevokedByUser => "Signed out from another device",
        EndReason::Superseded => "Replaced by a new sign-in",
        EndReason::Transferred => "Moved to another device",
        _ => "Ended for your safety",
    }
}

/// Names an assurance level.
pub(crate) fn assurance(level: AssuranceLevel) -> &'static str {
    match level {
        AssuranceLevel::None => "None",
        AssuranceLevel::Aal1 => "One factor",
        AssuranceLevel::Aal2 => "Two factors",
        _ => "Hardware key",
    }
}

/// Names an authentication method.
pub(crate) fn method(method: &AuthMethod) -> &'static str {
    match method {
        AuthMethod::Password => "Password",
        AuthMethod::Passkey => "Passkey",
        _ => "Another way",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[test]
    fn times_are_shown_in_the_largest_unit() {
        for (seconds, expected) in [
            (10, "10 seconds"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (119, "1 minute"),
            (7_200, "2 hours"),
            (86_399, "23 hours"),
            (86_400, "1 day"),
            (2_592_000, "30 days"),
        ] {
            let span = Duration::from_secs(seconds);
            assert_eq!(ago(NOW.saturating_sub(span), NOW), format!("{expected} ago"));
            assert_eq!(until(NOW.saturating_add(span), NOW), format!("in {expected}"));
        }
        assert_eq!(ago(NOW, NOW), "just now");
        assert_eq!(until(NOW, NOW), "now");
        assert_eq!(until(NOW.saturating_add(Duration::from_millis(1)), NOW), "in 1 second");
    }

    #[test]
    fn clocks_and_prices_have_two_digits() {
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
        assert_eq!(clock(Duration::from_secs(3_605)), "1:00:05");
        assert_eq!(clock(Duration::ZERO), "0:00");
        assert_eq!(price(1_190), "11.90 €");
        assert_eq!(price(5), "0.05 €");
    }
}
