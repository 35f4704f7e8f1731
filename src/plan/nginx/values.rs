//! How ingress-nginx reads the values of annotations, and what it makes of those that it does not allow.

use crate::facts::{AppFacts, is_go_true};

pub(super) const AUTH_ALWAYS_SET_COOKIE: &str = "nginx.ingress.kubernetes.io/auth-always-set-cookie";
pub(super) const AUTH_CACHE_DURATION: &str = "nginx.ingress.kubernetes.io/auth-cache-duration";
pub(super) const AUTH_REQUEST_REDIRECT: &str = "nginx.ingress.kubernetes.io/auth-request-redirect";

/// Whether ingress-nginx allows a value.
type Rule = fn(&str) -> bool;

/// The value of the annotation `key` as ingress-nginx reads one that is no number and no truth: without spaces around it, and
/// `None` where nothing is left.
pub(super) fn text<'a>(app: &'a AppFacts, key: &str) -> Option<&'a str> {
    app.annotation(key).map(str::trim).filter(|value| !value.is_empty())
}

/// Whether Go's `strconv.ParseBool` takes `value` for true or for false.
fn is_go_bool(value: &str) -> bool {
    is_go_true(value) || matches!(value, "0" | "f" | "F" | "FALSE" | "false" | "False")
}

/// An annotation of `app` by whose value ingress-nginx leaves out the whole check, with that value.
///
/// What it does not allow in another annotation of the check makes it answer 503, or ignore that annotation. For these three its
/// parser (`annotations/authreq`) returns an error of neither kind, and what has such an error is treated as if nobody had asked for
/// it: every visitor reaches the app.
pub(super) fn dropping_the_check(app: &AppFacts) -> Option<(&'static str, &str)> {
    let validated: [(&'static str, Rule); 3] = [
        (AUTH_ALWAYS_SET_COOKIE, is_go_bool),
        (AUTH_CACHE_DURATION, |value| value.bytes().all(|byte| is_basic(byte) || b", ".contains(&byte))),
        (AUTH_REQUEST_REDIRECT, |value| value.bytes().all(|byte| is_basic(byte) || b" ,?&=".contains(&byte))),
    ];
    validated.into_iter().find_map(|(key, is_allowed)| {
        // An empty value is not looked at.
        let found = app.annotation(key).filter(|value| !value.is_empty() && !is_allowed(value))?;
        Some((key, found))
    })
}

/// Whether ingress-nginx allows `byte` wherever it allows anything but words of its own.
fn is_basic(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte)
}
