//! The languages of annotations that ingress controllers understand, and what differs between them.

use super::nginx::Nginx;
use super::outpost::Outpost;
use super::refusal::Refusal;
use super::request::Request;
use super::traefik::{self, Traefik};
use super::traefik_nginx::TraefikNginx;
use super::warning::Warning;
use crate::config::{AuthRoute, Settings};
use crate::facts::{AppFacts, IngressClassFacts, IngressFacts};
use crate::middleware::ForwardAuth;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A language of annotations that one kind of ingress controller understands. Each is a file with the same functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// ingress-nginx.
    Nginx,
    /// Traefik in place of ingress-nginx, by its provider for that one's annotations.
    TraefikNginx,
    /// Traefik by its own annotations and Middlewares.
    Traefik,
}

/// What differs between dialects. What has a body here, most have in common.
pub(super) trait DataPlane {
    /// How `--class` names it.
    fn name(&self) -> &'static str;

    /// `spec.controller` of the classes that it serves.
    fn controller(&self) -> &'static str;

    /// The route of the auth check for an app that asks for `asked`.
    fn auth_route(&self, asked: AuthRoute) -> AuthRoute {
        asked
    }

    /// Whether the outpost path of each host is routed to the outpost.
    fn routes_outpost_path(&self, _settings: &Settings) -> bool {
        true
    }

    /// Whether a long regular expression among the paths of a host can take the outpost path.
    fn lets_long_regex_win(&self) -> bool {
        true
    }

    /// Whether another Ingress can have TLS of a whole host passed through unopened.
    fn lets_others_pass_tls_through(&self) -> bool {
        true
    }

    /// Whether it tells the outpost the header `Host` as clients send it, of which it reads itself no more than the name.
    fn passes_raw_host(&self, _settings: &Settings) -> bool {
        false
    }

    /// What this data plane cannot protect.
    fn check(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        settings: &Settings,
    ) -> Result<(), Refusal>;

    /// What the admin should know although the app is protected.
    fn warnings(&self, ingress: &IngressFacts, app: &AppFacts, request: &Request) -> Vec<Warning>;

    /// The annotations that put the app behind the outpost.
    fn annotations(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        settings: &Settings,
    ) -> BTreeMap<String, String>;

    /// Annotations in which others have a part too, where they have to change; `None` takes one away.
    fn edits(
        &self,
        ingress: &IngressFacts,
        app: &AppFacts,
        _request: &Request,
        _settings: &Settings,
    ) -> BTreeMap<String, Option<String>> {
        traefik::without_ours(ingress, app)
    }

    /// Request headers of the auth check that come from a `ConfigMap`, by name; an empty value drops what the client sent.
    /// None, and there is no `ConfigMap`.
    fn request_headers(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// What makes the Middleware that asks the outpost, where it is a Middleware that asks.
    fn forward_auth(&self) -> Option<fn(&Outpost, &Settings) -> ForwardAuth> {
        None
    }

    /// Annotations of the Ingress that routes the outpost path, whichever app it is for.
    fn route_annotations(&self, _outpost: &Outpost) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Further ones, which depend on the app.
    fn route_annotations_for(&self, _app: &AppFacts) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Whether `key` is one of those that depend on the app.
    fn depends_on_app(&self, _key: &str) -> bool {
        false
    }

    /// The annotation by which an app, opted out or not, still sends its visitors through the outpost.
    fn annotation_using_outpost(&self, ingress: &IngressFacts, app: &AppFacts) -> Option<&'static str>;
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nginx, Self::TraefikNginx, Self::Traefik];

    /// Who serves the classes of ingress-nginx is not always ingress-nginx, and its annotations are a hole on Traefik: a
    /// forged `X-Original-URL` opens the app. A class that Traefik's Helm chart made is known to be Traefik's.
    pub fn of_class(class: &IngressClassFacts) -> Option<Self> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.controller() == class.controller);
        match named {
            Some(Self::Nginx) if class.is_of_traefik_chart => Some(Self::TraefikNginx),
            other => other,
        }
    }

    /// Whether it is Traefik that reads it.
    pub(crate) fn is_of_traefik(self) -> bool {
        matches!(self, Self::TraefikNginx | Self::Traefik)
    }

    /// All supported controllers, for messages.
    pub fn supported() -> String {
        Self::ALL.map(Self::controller).join(", ")
    }

    /// `spec.controller` of the classes that it serves, as far as that tells.
    pub(crate) fn controller(self) -> &'static str {
        self.plane().controller()
    }

    /// Whether its apps have the outpost path of their hosts routed to the outpost.
    pub fn routes_outpost_path(self, settings: &Settings) -> bool {
        self.plane().routes_outpost_path(settings)
    }

    /// See [`DataPlane`].
    pub(super) fn plane(self) -> &'static dyn DataPlane {
        match self {
            Self::Nginx => &Nginx,
            Self::TraefikNginx => &TraefikNginx,
            Self::Traefik => &Traefik,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plane().name())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dialect| dialect.plane().name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|dialect| dialect.plane().name()).join(", ");
            format!("{text:?} is not a dialect; the dialects are {names}")
        })
    }
}
