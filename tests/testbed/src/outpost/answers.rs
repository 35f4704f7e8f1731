//! The forms of an answer in which the two flavours differ.

use super::Flavour;
use anyhow::{Context, Result};
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A text. Go's `http.Error` adds a line end and a header.
pub(super) fn text(flavour: Flavour, status: StatusCode, text: &'static str) -> Response {
    match flavour {
        Flavour::Rust => (status, text).into_response(),
        Flavour::Go => {
            let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (status, plain, format!("{text}\n")).into_response()
        }
    }
}

/// Nothing has this path.
pub(super) fn not_found(flavour: Flavour) -> Response {
    match flavour {
        Flavour::Rust => StatusCode::NOT_FOUND.into_response(),
        Flavour::Go => text(flavour, StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// What authentik's core says to a path it does not know: where an embedded outpost leaves what it does not serve.
pub(super) fn core_not_found() -> Response {
    (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/html; charset=utf-8")], "<h1>Not Found</h1>")
        .into_response()
}

/// No provider serves this host.
pub(super) fn unknown_host(flavour: Flavour, host: &str) -> Response {
    let body = match flavour {
        Flavour::Rust => json!({
            "message": "no app for hostname",
            "host": host,
            "detail": format!("check the outpost settings and make sure '{host}' is included."),
        })
        .to_string(),
        Flavour::Go => format!(
            "{{\n\t\"Message\": \"no app for hostname\",\n\t\"Host\": {},\n\t\"Detail\": {}\n}}\n",
            json!(host),
            json!(format!("Check the outpost settings and make sure '{host}' is included."))
        ),
    };
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// 302. Go's `http.Redirect` adds a link for people.
pub(super) fn redirect(flavour: Flavour, location: &str, cookie: Option<&str>) -> Result<Response> {
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, value(location)?);
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, value(cookie)?);
    }
    Ok(match flavour {
        Flavour::Rust => (StatusCode::FOUND, headers).into_response(),
        Flavour::Go => {
            let escaped = location.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;");
            let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
            (StatusCode::FOUND, headers, html, format!("<a href=\"{escaped}\">Found</a>.\n\n"))
                .into_response()
        }
    })
}

/// A header value; text beyond ASCII goes as UTF-8, as from the real ones.
pub(super) fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).with_context(|| format!("as a header value: {text:?}"))
}
