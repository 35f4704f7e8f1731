//! What should exist: pure functions of facts and settings. No client, no clock, no async.
//!
//! [`request`] reads what one app asks for, [`decide`] sets it against the rest of the cluster, [`companions`] spells
//! the objects out, and [`changes`] compares them with what is there.

pub mod changes;
pub mod companions;
pub mod decision;
mod nginx;
pub mod outpost;
pub mod refusal;
pub mod request;
pub mod waiting;
pub mod warning;

pub use decision::{AppView, Decision, HostHolder, Protection, Slot, decide};

use crate::config::{AuthRoute, Settings};
use crate::facts::{AppFacts, IngressFacts, ObjectKey};
use refusal::Refusal;
use request::Request;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use warning::Warning;

/// A language of annotations that one kind of ingress controller understands. Each is a file with the same functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// ingress-nginx.
    Nginx,
}

impl Dialect {
    const ALL: [Self; 1] = [Self::Nginx];

    /// The dialect of an `IngressClass` with this `spec.controller`.
    pub fn of_controller(controller: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.controller() == controller)
    }

    /// All supported controllers, for messages.
    pub fn supported() -> String {
        Self::ALL.map(Self::controller).join(", ")
    }

    fn controller(self) -> &'static str {
        match self {
            Self::Nginx => "k8s.io/ingress-nginx",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
        }
    }

    fn check(
        self,
        ingress: &IngressFacts,
        app: &AppFacts,
        request: &Request,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        match self {
            Self::Nginx => nginx::check(ingress, app, request, settings),
        }
    }

    fn warnings(self, app: &AppFacts) -> Vec<Warning> {
        match self {
            Self::Nginx => nginx::warnings(app),
        }
    }

    fn annotations(self, app: &AppFacts, request: &Request, headers: &ObjectKey) -> BTreeMap<String, String> {
        match self {
            Self::Nginx => nginx::annotations(app, request, headers),
        }
    }

    /// Request headers for the auth check, by name; an empty value drops what the client sent.
    pub fn request_headers(self, auth_route: AuthRoute) -> BTreeMap<String, String> {
        match self {
            Self::Nginx => nginx::request_headers(auth_route),
        }
    }

    fn annotation_using_route(self, app: &AppFacts) -> Option<&'static str> {
        match self {
            Self::Nginx => nginx::annotation_using_route(app),
        }
    }

    fn outpost_ingress_annotations(self, request: &Request) -> BTreeMap<String, String> {
        match self {
            Self::Nginx => nginx::outpost_ingress_annotations(request),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dialect| dialect.name() == text);
        found.ok_or_else(|| {
            format!("{text:?} is not a dialect; the dialects are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
