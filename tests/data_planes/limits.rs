//! What a data plane itself lets through, as the documentation says it. When one of these fails, the data plane became
//! better: then the documentation can.

use crate::lane::Lane;
use crate::site::Guarded;
use crate::{Trials, add};
use anyhow::{Result, ensure};
use ingress_sso_testbed::echo::Echoed;
use ingress_sso_testbed::http::Request;
use ingress_sso_testbed::outpost::User;
use url::Url;

pub(crate) fn add(trials: &mut Trials) {
    add!(trials, Lane::TraefikNginx, other_spellings_of_identity_headers_pass, unknown_identity_headers_pass);
    add!(trials, Lane::NginxHost, unknown_identity_headers_pass);
    add!(trials, Lane::Traefik, unknown_identity_headers_are_dropped);
}

async fn other_spellings_of_identity_headers_pass(lane: Lane) -> Result<()> {
    for name in ["X_authentik_username", "X.authentik.username"] {
        ensure!(passes(lane, name).await?, "{name} is dropped");
    }
    Ok(())
}

async fn unknown_identity_headers_pass(lane: Lane) -> Result<()> {
    ensure!(passes(lane, "X-authentik-anything").await?, "it is dropped");
    Ok(())
}

async fn unknown_identity_headers_are_dropped(lane: Lane) -> Result<()> {
    ensure!(!passes(lane, "X-authentik-anything").await?, "it passes");
    Ok(())
}

/// Whether a header that a user forged reaches the app.
async fn passes(lane: Lane, name: &str) -> Result<bool> {
    let guarded = Guarded::new(lane).await?;
    let (url, mut browser) = (guarded.app.url("/"), guarded.site.stranger());
    browser.log_in(&url, &guarded.outpost, &User::new("mallory", &[])).await?;
    let request = Request::to("GET", &Url::parse(&url)?).header(name, "forged");
    let echoed: Echoed = browser.send(&url, request).await?.json()?;
    Ok(echoed.request.headers(name).contains(&"forged"))
}
