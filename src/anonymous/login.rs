//! What the URL of a login says about where it leads.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use url::Url;

/// A redirect to authentik's login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// Host of authentik.
    pub(crate) host: String,
    /// Where authentik sends the visitor back to: below the provider's `external_host`.
    pub(crate) callback: Url,
    /// Where the outpost sends him from there; `None` where that is the start page of the provider.
    pub(crate) returns_to: Option<Url>,
}

/// The part of the `state` of a login that says where it leads. Its signature is the outpost's business.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    redirect: String,
}

impl Login {
    /// `None` unless it is the URL of a login.
    pub(crate) fn read(url: &Url) -> Option<Self> {
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        let callback = Url::parse(&parameter("redirect_uri")?).ok().filter(Url::has_host)?;
        let returns_to = parameter("state").and_then(|state| {
            let payload = BASE64_URL_SAFE_NO_PAD.decode(state.split('.').nth(1)?).ok()?;
            let state: State = serde_json::from_slice(&payload).ok()?;
            Url::parse(&state.redirect).ok().filter(Url::has_host)
        });
        Some(Self { host: url.host_str()?.to_owned(), callback, returns_to })
    }

    /// Host to which authentik sends the visitor back.
    pub(crate) fn callback_host(&self) -> &str {
        self.callback.host_str().unwrap_or_default()
    }

    /// Whether a visitor of `host` gets back there. A provider for a whole domain logs in at a host of its own, and knows
    /// where to go from there.
    pub(crate) fn leads_back_to(&self, host: &str) -> bool {
        let returns_to = self.returns_to.as_ref().and_then(Url::host_str);
        self.callback_host() == host || returns_to == Some(host)
    }
}
