//! What is warned of on ingress-nginx: what people wrote with which the app is protected, and yet not as they may think.

use super::values::text;
use crate::facts::AppFacts;
use crate::plan::warning::Warning;

const AUTH_KEEPALIVE: &str = "nginx.ingress.kubernetes.io/auth-keepalive";
pub(super) const AUTH_SNIPPET: &str = "nginx.ingress.kubernetes.io/auth-snippet";
const MIRROR_TARGET: &str = "nginx.ingress.kubernetes.io/mirror-target";
pub(super) const SATISFY: &str = "nginx.ingress.kubernetes.io/satisfy";

/// Pieces of configuration in which anything can be, beside that in the check itself.
pub(super) const SNIPPETS: [&str; 2] =
    ["nginx.ingress.kubernetes.io/configuration-snippet", "nginx.ingress.kubernetes.io/server-snippet"];

/// Paths without a login that are named; more need no longer text.
const MAX_PATHS: usize = 3;

/// Everything of that kind on `app`.
pub(super) fn of(app: &AppFacts) -> Vec<Warning> {
    let has = |key: &'static str| app.annotation(key).map(|_| key.to_owned());
    let mut warnings = Vec::new();
    if text(app, SATISFY) == Some("any") {
        warnings.push(Warning::SatisfyAny { key: SATISFY.to_owned() });
    }
    warnings.extend(super::redirect_warnings(app));
    // Whatever is in the list: nginx then looks at all errors of the app, and for 401 it has the way to the login.
    let errors = text(app, super::CUSTOM_HTTP_ERRORS);
    warnings.extend(errors.map(|_| Warning::LoginLoop { key: super::CUSTOM_HTTP_ERRORS.to_owned() }));
    warnings.extend(has(AUTH_SNIPPET).map(|key| Warning::AuthSnippet { key }));
    warnings.extend(SNIPPETS.into_iter().filter_map(has).map(|key| Warning::UncheckedSnippet { key }));
    // Its lines for this count headers from one where those of its template count from zero.
    let is_kept_alive = app.annotation(AUTH_KEEPALIVE).and_then(|value| value.parse::<i64>().ok()) > Some(0);
    warnings.extend(is_kept_alive.then(|| Warning::AuthKeepalive { key: AUTH_KEEPALIVE.to_owned() }));
    warnings.extend(text(app, MIRROR_TARGET).map(|_| Warning::Mirror { key: MIRROR_TARGET.to_owned() }));
    warnings.extend(forgeable_identity(app));
    warnings.extend(small_buffers(app));
    let open = app.no_auth_paths.iter().take(MAX_PATHS);
    warnings.extend(open.map(|path| Warning::NoAuthLocation { path: path.to_string() }));
    warnings
}

/// The identity headers are set by `proxy_set_header`, or by `grpc_set_header` where the protocol is written in capitals. What
/// speaks another protocol looks at neither, and hands the app the headers of the client.
fn forgeable_identity(app: &AppFacts) -> Option<Warning> {
    let found = text(app, super::BACKEND_PROTOCOL)?;
    let remedy = match found.to_ascii_uppercase().as_str() {
        "FCGI" => {
            "put a web server between the two that speaks HTTP, or have nothing in the app believe these headers"
        }
        "GRPC" | "GRPCS" if found.bytes().any(|byte| byte.is_ascii_lowercase()) => "write it in capitals",
        _ => return None,
    };
    Some(Warning::ForgeableIdentity {
        key: super::BACKEND_PROTOCOL.to_owned(),
        found: found.to_owned(),
        remedy,
    })
}

/// Beside a size of the busy buffers of people's own, this controller sets none of nginx's.
fn small_buffers(app: &AppFacts) -> Option<Warning> {
    app.foreign_annotation(super::PROXY_BUSY_BUFFERS_SIZE)?;
    let is_alone = app.foreign_annotation(super::PROXY_BUFFER_SIZE).is_none();
    is_alone.then(|| Warning::SmallBuffers { key: super::PROXY_BUSY_BUFFERS_SIZE.to_owned() })
}
