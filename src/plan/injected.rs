//! What protects an app as it stands: read back from the annotations, whatever the plan would be now.

use super::{nginx, traefik_nginx};
use crate::contract::{OUTPOST_PATH, outpost_named_in};
use crate::facts::{AppFacts, IngressFacts};
use serde::Serialize;
use std::fmt;

/// What authentik's Kubernetes integration puts before the name of an outpost to name its Service.
const OUTPOST_SERVICE_PREFIX: &str = "ak-outpost-";

/// How requests to an app come to be checked by an outpost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The data plane asks through the app's own host.
    Host,
    /// The data plane asks the outpost itself.
    Direct,
    /// A Middleware of Traefik's asks the outpost.
    Middleware,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Direct => "direct",
            Self::Middleware => "middleware",
        })
    }
}

/// What stands between visitors and an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected<'a> {
    /// How the outpost is asked.
    pub check: Check,
    /// The outpost that is asked, where the annotations name it.
    pub outpost: Option<&'a str>,
    /// Keys of annotations that belong to the check and are not, or not any more, as the controller wrote them.
    pub altered: Vec<&'static str>,
}

impl<'a> Injected<'a> {
    /// `None` where no annotation has an outpost asked.
    pub fn of(ingress: &'a IngressFacts) -> Option<Self> {
        if let Some(name) = ingress.middlewares.first() {
            let outpost = outpost_named_in(&ingress.key.namespace, name);
            return Some(Self { check: Check::Middleware, outpost, altered: Vec::new() });
        }
        let app = ingress.app()?;
        let (address, rest) = app.annotation(nginx::AUTH_URL)?.split_once(OUTPOST_PATH)?;
        let host = address.split_once("://").map_or(address, |(_, host)| host);
        let is_of_app = host == "$host" || ingress.hosts.iter().any(|of_app| of_app.as_str() == host);
        Some(Self {
            check: if is_of_app { Check::Host } else { Check::Direct },
            outpost: if is_of_app { None } else { outpost_at(host) },
            altered: altered(app, rest),
        })
    }
}

/// The outpost in the address of its Service, if authentik made that.
fn outpost_at(host: &str) -> Option<&str> {
    host.strip_prefix(OUTPOST_SERVICE_PREFIX)?.split(['.', ':']).next()
}

/// The two data planes that read `auth-url` need different annotations beside it, and are asked for at different paths.
fn altered(app: &AppFacts, path: &str) -> Vec<&'static str> {
    let keys = if path == "/auth/nginx" { &nginx::CHECK[..] } else { &traefik_nginx::CHECK[..] };
    keys.iter().copied().filter(|key| !app.has_applied(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Keys, MANAGER, ROUTER_MIDDLEWARES, middleware_name, middleware_reference};
    use ingress_sso_testbed::builders::managed;
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::{Value, json};

    /// An app of `app.example.com` with `annotations`, of which the controller wrote `owned`.
    fn facts(annotations: &Value, owned: &[&str]) -> IngressFacts {
        let ingress: Ingress = serde_json::from_value(json!({
            "metadata": {
                "name": "app", "namespace": "shop", "annotations": annotations,
                "managedFields": [managed(MANAGER, "Apply", owned)],
            },
            "spec": { "rules": [{ "host": "app.example.com" }] },
        }))
        .unwrap();
        IngressFacts::extract(&ingress, &Keys::default()).unwrap()
    }

    #[test]
    fn the_way_of_the_check_is_told_by_the_address_that_is_asked() {
        let service = "ak-outpost-proxy.authentik.svc.cluster.local:9000";
        for (address, check, outpost) in [
            ("https://app.example.com", Check::Host, None),
            ("http://$host", Check::Host, None),
            (&format!("http://{service}"), Check::Direct, Some("proxy")),
            ("https://outpost.example.com:9443", Check::Direct, None),
        ] {
            let url = format!("{address}{OUTPOST_PATH}/auth/nginx");
            let facts = facts(&json!({ nginx::AUTH_URL: url }), &nginx::CHECK);
            assert_eq!(Injected::of(&facts), Some(Injected { check, outpost, altered: vec![] }), "{address}");
        }
    }

    #[test]
    fn a_middleware_of_ours_names_its_outpost() {
        let reference = middleware_reference("shop", &middleware_name("shop", "proxy"), false);
        let facts = facts(&json!({ ROUTER_MIDDLEWARES: format!("{reference},strip@file") }), &[]);
        let wanted = Injected { check: Check::Middleware, outpost: Some("proxy"), altered: vec![] };
        assert_eq!(Injected::of(&facts), Some(wanted));
    }

    #[test]
    fn other_peoples_checks_are_none() {
        for annotations in [
            json!({ nginx::AUTH_URL: "https://auth.example.com/check" }),
            json!({ ROUTER_MIDDLEWARES: "strip@file" }),
            json!({}),
        ] {
            let facts = facts(&annotations, &["sso.djieno.com/status"]);
            assert_eq!(Injected::of(&facts), None, "{annotations}");
        }
    }

    #[test]
    fn what_somebody_took_away_or_changed_is_told_for_the_data_plane_that_needs_it() {
        let altered = |path: &str, owned: &[&str]| {
            let url = format!("http://ak-outpost-proxy.authentik.svc{OUTPOST_PATH}/auth/{path}");
            let facts = facts(&json!({ nginx::AUTH_URL: url }), owned);
            Injected::of(&facts).map(|injected| injected.altered)
        };
        assert_eq!(altered("traefik", &traefik_nginx::CHECK), Some(vec![]));
        assert_eq!(altered("nginx", &nginx::CHECK[1..]), Some(vec![nginx::AUTH_URL]));
        assert_eq!(altered("nginx", &nginx::CHECK[..3]), Some(vec![nginx::CHECK[3]]));
    }
}
