//! Playing authentik: a user logs in and is sent back.

use super::service::Service;
use super::{User, parameter};
use crate::record::lock;
use anyhow::{Context, Result, bail, ensure};
use url::Url;

/// What an outpost has to send; nothing else, and nothing twice.
const PARAMETERS: [&str; 5] = ["client_id", "redirect_uri", "response_type", "scope", "state"];

impl Service {
    /// See [`super::Outpost::log_in`].
    pub(super) fn log_in(&self, location: &str, user: &User) -> Result<String> {
        let url = Url::parse(location).context("it is no absolute URL")?;
        let query = url.query().unwrap_or_default();
        let mut names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        names.sort();
        ensure!(names == PARAMETERS, "its parameters are {names:?}, not {PARAMETERS:?}");
        let sent = |name: &str| parameter(query, name).unwrap_or_default();

        let providers = lock(&self.providers).clone();
        let known = providers.iter().find(|provider| provider.client_id == sent("client_id"));
        let provider =
            known.with_context(|| format!("no provider has the client_id {:?}", sent("client_id")))?;
        let mut page = url.clone();
        page.set_query(None);
        let expected = provider.authorize_url()?;
        ensure!(page == expected, "it leads to {page}, not to {expected}");
        let mut back = provider.redirect_uri()?;
        let redirect_uri = sent("redirect_uri");
        ensure!(
            redirect_uri == back.as_str(),
            "its redirect_uri is {redirect_uri:?}, not {:?}",
            back.as_str()
        );
        ensure!(sent("response_type") == "code", "its response_type is {:?}", sent("response_type"));
        ensure!(sent("scope").split(' ').any(|scope| scope == "openid"), "its scope is {:?}", sent("scope"));
        let state = sent("state");
        if self.app(provider).state(&state).is_none() {
            bail!("its state is not one of this outpost for {}: {state:?}", provider.name);
        }
        let code = self.codes.issue(&provider.client_id, user);
        back.query_pairs_mut().append_pair("code", &code).append_pair("state", &state);
        Ok(back.into())
    }

    /// Whether this URL is a login page of a provider's authentik.
    pub(super) fn is_authorize(&self, url: &Url) -> bool {
        let providers = lock(&self.providers);
        providers.iter().any(|provider| {
            provider
                .authorize_url()
                .is_ok_and(|page| page.origin() == url.origin() && page.path() == url.path())
        })
    }
}
