//! Every annotation key, label and name that users see, in one place.
//!
//! The keys under the project's own prefix depend on `--annotation-prefix`; everything else is fixed.

use sha2::{Digest, Sha256};

/// Field manager of every write, and the value of [`MANAGED_BY`] on all that the controller creates.
///
/// Flux takes fields away from managers whose name begins with `kubectl`; this one must never do so.
pub const MANAGER: &str = "ingress-sso";

/// Prefix of the project's own annotations and labels unless `--annotation-prefix` says otherwise.
pub const DEFAULT_PREFIX: &str = "sso.djieno.com";

/// Label that marks an object as made by this controller. Objects without it are never changed or deleted.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Label that says what a companion belongs to.
pub const PART_OF: &str = "app.kubernetes.io/part-of";

/// Value of [`PART_OF`] on all that the controller creates.
pub const PART_OF_VALUE: &str = "authentik";

/// Path below which an authentik outpost serves login, callback, sign-out and the auth check, on every host.
pub const OUTPOST_PATH: &str = "/outpost.goauthentik.io";

/// Type of [`OUTPOST_PATH`] in routes. Not `Prefix`: several releases of ingress-nginx reject a dot in one. It matches the same, so
/// `/outpost.goauthentik.iox`, which outposts let through, stays with the app.
pub const OUTPOST_PATH_TYPE: &str = "ImplementationSpecific";

/// Paths that begin like this are served without a login by ingress-nginx, whatever the annotations of their Ingress: the default of
/// `no-auth-locations` in its `ConfigMap`.
pub const NO_AUTH_LOCATION: &str = "/.well-known/acme-challenge";

/// Every header by which an outpost tells an app who its visitor is. A data plane replaces or drops those of the client
/// that are listed to it; any other reaches the app as the client forged it.
pub const IDENTITY_HEADERS: [&str; 12] = [
    "X-authentik-username",
    "X-authentik-groups",
    "X-authentik-entitlements",
    "X-authentik-email",
    "X-authentik-name",
    "X-authentik-uid",
    "X-authentik-jwt",
    "X-authentik-meta-jwks",
    "X-authentik-meta-outpost",
    "X-authentik-meta-provider",
    "X-authentik-meta-app",
    "X-authentik-meta-version",
];

/// Annotation of Ingresses that predate `spec.ingressClassName`.
pub const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// Labels authentik's own outpost controller puts on the Service of a proxy outpost.
pub const DISCOVERY_SELECTOR: &str =
    "app.kubernetes.io/managed-by=goauthentik.io,goauthentik.io/outpost-type=proxy";

/// Label with the slug of the outpost, on the Service that authentik makes for it.
pub const DISCOVERED_NAME: &str = "goauthentik.io/outpost-name";

/// Slug of the outpost that runs inside the authentik server itself.
pub const EMBEDDED_OUTPOST: &str = "authentik-embedded-outpost";

/// Annotation by which an Ingress of Traefik's own kind lists the Middlewares of its routers, separated by commas.
pub const ROUTER_MIDDLEWARES: &str = "traefik.ingress.kubernetes.io/router.middlewares";

/// Annotation by which an Ingress of ingress-nginx's kind has every request asked about.
pub const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";

/// Annotation by which an Ingress of ingress-nginx names its `ConfigMap` of request headers for the auth check.
pub const AUTH_PROXY_SET_HEADERS: &str = "nginx.ingress.kubernetes.io/auth-proxy-set-headers";

/// Annotation that makes an Ingress of ingress-nginx's kind a canary of another one.
pub const CANARY: &str = "nginx.ingress.kubernetes.io/canary";

/// Annotation by which an Ingress of ingress-nginx's kind has TLS passed through unopened, for whole hosts: one Ingress decides for
/// all that serve the same host.
pub const SSL_PASSTHROUGH: &str = "nginx.ingress.kubernetes.io/ssl-passthrough";

/// Value of [`AUTH_URL`] that closes an app before it is protected: `.invalid` resolves nowhere (RFC 2606), so every auth check
/// fails and every request is answered with 500.
pub const CLOSED_URL: &str = "http://ingress-sso.invalid/closed";

/// Entry of [`ROUTER_MIDDLEWARES`] that closes an app before it is protected: there is no such provider, so there is no router and
/// every request is answered with 404.
pub const CLOSED_MIDDLEWARE: &str = "closed@ingress-sso";

/// What follows the name of a Middleware in [`ROUTER_MIDDLEWARES`]: it is a custom resource.
const MIDDLEWARE_PROVIDER: &str = "@kubernetescrd";

/// Longest name of an Ingress, a ConfigMap or a Middleware: a DNS subdomain.
pub const MAX_SUBDOMAIN: usize = 253;

/// Longest name of a Service and longest value of a label: a DNS label.
const MAX_LABEL: usize = 63;

/// The keys under the configurable prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
    /// `"true"` puts the app behind authentik. Written by users only.
    pub opt_in: String,
    /// Name of the outpost; on companions, as a label, the outpost they lead to. Users set it on apps.
    pub outpost: String,
    /// `host` or `direct`. Written by users only.
    pub auth_route: String,
    /// `https` or `http`, as browsers reach the app. Written by users only.
    pub scheme: String,
    /// `Protected`, `Pending`, `Refused` or `Failing`. Written by the controller only.
    pub status: String,
    /// Why, and what to do; absent while `Protected`. Written by the controller only.
    pub message: String,
    /// On an outpost Ingress: the name of the app's Ingress, in the same namespace.
    pub app: String,
    /// uid of the header `ConfigMap` that the ingress controller has to read again.
    ///
    /// ingress-nginx reads that `ConfigMap` only when the Ingress changes, so after one was lost and came back
    /// an Ingress that changed in between needs one more change that means something.
    pub headers_uid: String,
}

impl Keys {
    /// The keys under `prefix`, which must already be a valid DNS subdomain.
    pub fn new(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}/{name}");
        Self {
            prefix: prefix.to_owned(),
            opt_in: key("authentik"),
            outpost: key("outpost"),
            auth_route: key("auth-route"),
            scheme: key("scheme"),
            status: key("status"),
            message: key("message"),
            app: key("app"),
            headers_uid: key("headers-uid"),
        }
    }

    /// The prefix itself.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether `key` lies under the configured prefix.
    pub fn is_own(&self, key: &str) -> bool {
        key.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new(DEFAULT_PREFIX)
    }
}

/// Whether an auth check at `url` goes to an outpost, directly or through the route of a host.
pub fn leads_to_outpost(url: &str) -> bool {
    url.contains(OUTPOST_PATH)
}

/// What follows the app's name in the name of its outpost Ingress.
const OUTPOST_INGRESS_SUFFIX: &str = "-outpost-path";

/// Name of the Ingress that routes the outpost path for the app Ingress `app`.
pub fn outpost_ingress_name(app: &str) -> String {
    bounded(app, OUTPOST_INGRESS_SUFFIX, MAX_SUBDOMAIN)
}

/// The app in the name of an outpost Ingress, unless the name was too long to hold it.
pub fn app_named_in(outpost_ingress: &str) -> Option<&str> {
    outpost_ingress.strip_suffix(OUTPOST_INGRESS_SUFFIX)
}

/// Name of the `ExternalName` Service that leads to `outpost`.
pub fn service_name(outpost: &str) -> String {
    let name = format!("authentik-{outpost}");
    bounded(&name, "", MAX_LABEL)
}

/// Name of the `ConfigMap` with the given request headers: it changes with its content, because ingress-nginx
/// does not notice a change of a `ConfigMap` that an Ingress already names.
pub fn headers_name<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut hash = Sha256::new();
    for (name, value) in headers {
        hash.update(name);
        hash.update([0]);
        hash.update(value);
        hash.update([0]);
    }
    format!("authentik-headers-{}", short_hex(&hash.finalize()))
}

/// Name of the Middleware that asks `outpost` about requests to the apps of `namespace`.
///
/// Traefik calls a Middleware by namespace and name joined with a dash, so `shop` and `auth-x` spell the same as
/// `shop-auth` and `x`. The hash of the two parts keeps any two of ours apart, and tells ours from all others.
pub fn middleware_name(namespace: &str, outpost: &str) -> String {
    let hash =
        short_hex(&Sha256::new().chain_update(namespace).chain_update([0]).chain_update(outpost).finalize());
    bounded(&format!("{MIDDLEWARE_PREFIX}{outpost}"), &format!("-{hash}"), MAX_SUBDOMAIN)
}

/// What every [`middleware_name`] begins with.
const MIDDLEWARE_PREFIX: &str = "authentik-";

/// How [`ROUTER_MIDDLEWARES`] names the Middleware `name` of `namespace`: with a dash between the two, or with an
/// underscore where Traefik runs with `safeNaming`.
pub fn middleware_reference(namespace: &str, name: &str, safe_naming: bool) -> String {
    let separator = if safe_naming { '_' } else { '-' };
    format!("{namespace}{separator}{name}{MIDDLEWARE_PROVIDER}")
}

/// Whether Traefik could call a [`middleware_name`] of some namespace by `spelling`.
pub fn is_spelled_like_a_middleware(spelling: &str) -> bool {
    spelling.contains(MIDDLEWARE_PREFIX)
}

/// The name in `reference`, an entry of [`ROUTER_MIDDLEWARES`], if it is a [`middleware_name`] of `namespace`.
pub fn own_middleware_in<'a>(namespace: &str, reference: &'a str) -> Option<&'a str> {
    let name = reference.strip_suffix(MIDDLEWARE_PROVIDER)?.strip_prefix(namespace)?;
    let name = name.strip_prefix(['-', '_'])?;
    outpost_named_in(namespace, name).map(|_| name)
}

/// The outpost in `name`, if it is a [`middleware_name`] of `namespace`.
pub fn outpost_named_in<'a>(namespace: &str, name: &'a str) -> Option<&'a str> {
    let (outpost, _) = name.strip_prefix(MIDDLEWARE_PREFIX)?.rsplit_once('-')?;
    (middleware_name(namespace, outpost) == name).then_some(outpost)
}

/// Name of the Lease that replicas contend for, unless `--lease-name` says otherwise: instances that look at other namespaces or
/// another prefix are no replicas of each other.
pub fn lease_name<'a>(prefix: &str, namespaces: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    let mut is_usual = prefix == DEFAULT_PREFIX;
    hash.update(prefix);
    for namespace in namespaces {
        is_usual = false;
        hash.update([0]);
        hash.update(namespace);
    }
    if is_usual { MANAGER.to_owned() } else { format!("{MANAGER}-{}", short_hex(&hash.finalize())) }
}

/// `base` + `suffix`, with the end of `base` replaced by a hash of it where the whole would exceed `max` bytes.
///
/// All inputs are DNS names, so cutting at a byte cannot split a character.
fn bounded(base: &str, suffix: &str, max: usize) -> String {
    if base.len() + suffix.len() <= max {
        return format!("{base}{suffix}");
    }
    let hash = short_hex(&Sha256::digest(base));
    let keep = max - suffix.len() - hash.len() - 1;
    let kept = base.get(..keep).unwrap_or(base).trim_end_matches(['.', '-']);
    format!("{kept}-{hash}{suffix}")
}

/// The first 40 bits of `digest`: enough to tell apart what one namespace holds.
fn short_hex(digest: &[u8]) -> String {
    digest
        .iter()
        .take(5)
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        assert_eq!(outpost_ingress_name("n8n"), "n8n-outpost-path");
        assert_eq!(service_name("proxy-outpost"), "authentik-proxy-outpost");
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let (a, b) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
        for name in [&a, &b] {
            assert_eq!(outpost_ingress_name(name).len(), 253);
            assert_eq!(service_name(name).len(), 63);
        }
        assert_ne!(outpost_ingress_name(&a), outpost_ingress_name(&b));
        assert_ne!(service_name(&a), service_name(&b));
    }

    #[test]
    fn middlewares_of_two_namespaces_are_never_called_the_same() {
        let called =
            |namespace, outpost| middleware_reference(namespace, &middleware_name(namespace, outpost), false);
        assert!(called("shop", "x-authentik-y").starts_with("shop-authentik-x-authentik-y-"));
        assert_ne!(called("shop", "x-authentik-y"), called("shop-authentik-x", "y"));
    }

    #[test]
    fn only_replicas_contend_for_a_lease() {
        assert_eq!(lease_name(DEFAULT_PREFIX, []), "ingress-sso");
        let names = [
            lease_name("sso.example.com", []),
            lease_name(DEFAULT_PREFIX, ["a"]),
            lease_name(DEFAULT_PREFIX, ["b"]),
            lease_name(DEFAULT_PREFIX, ["a", "b"]),
            lease_name(DEFAULT_PREFIX, []),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }

    #[test]
    fn references_to_our_middlewares_are_told_from_all_others() {
        for outpost in ["proxy-outpost", &"o".repeat(63)] {
            let name = middleware_name("shop", outpost);
            for safe_naming in [false, true] {
                let reference = middleware_reference("shop", &name, safe_naming);
                assert_eq!(own_middleware_in("shop", &reference), Some(name.as_str()));
                assert_eq!(own_middleware_in("sho", &reference), None);
            }
        }
        for other in ["", "shop-strip@kubernetescrd", "shop-authentik-proxy@kubernetescrd", "auth@file"] {
            assert_eq!(own_middleware_in("shop", other), None, "{other}");
        }
    }

    #[test]
    fn a_longer_prefix_is_not_ours() {
        let keys = Keys::new("sso.example.com");
        assert!(keys.is_own("sso.example.com/status"));
        assert!(!keys.is_own("sso.example.com.evil/status"));
    }
}
