//! Settings that decide what is made.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::RunArgs;
use crate::config::{self, InvalidSetting, RawSettings, Settings, TraefikSettings};
use crate::contract::{DEFAULT_PREFIX, Keys};
use clap::{ArgAction, Args};

/// Where the annotations and labels are found.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct PrefixArgs {
    /// Prefix of the annotations and labels, a DNS domain.
    #[arg(long, env = "INGRESS_SSO_ANNOTATION_PREFIX", default_value = DEFAULT_PREFIX, value_name = "DOMAIN")]
    annotation_prefix: String,
}

impl PrefixArgs {
    /// The annotations and labels under the prefix.
    pub fn keys(&self) -> Result<Keys, InvalidSetting> {
        config::keys(&self.annotation_prefix)
    }
}

/// Settings that decide what is made. Lists in environment variables are separated by commas.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct PlanArgs {
    /// See [`PrefixArgs`].
    #[command(flatten)]
    prefix: PrefixArgs,

    /// An outpost that apps may use, such as proxy=http://ak-outpost-proxy.authentik.svc.cluster.local:9000; repeatable.
    #[arg(long = "outpost", env = "INGRESS_SSO_OUTPOST", value_delimiter = ',', value_name = "NAME=URL", action = ArgAction::Append)]
    outposts: Vec<String>,

    /// Outpost of apps that name none. Without it: the only one given by --outpost, else the only one discovered.
    #[arg(long, env = "INGRESS_SSO_DEFAULT_OUTPOST", value_name = "NAME")]
    pub(super) default_outpost: Option<String>,

    /// Who serves a class, whatever its IngressClass says: nginx, traefik-nginx or traefik; repeatable. Say
    /// nginx=traefik-nginx where Traefik serves the class of an ingress-nginx that is gone.
    #[arg(long = "class", env = "INGRESS_SSO_CLASS", value_delimiter = ',', value_name = "NAME=DIALECT", action = ArgAction::Append)]
    classes: Vec<String>,

    /// How ingress-nginx reaches the outpost, unless the app says: host (through the app's own host) or direct.
    #[arg(long, env = "INGRESS_SSO_AUTH_ROUTE", default_value = "host", value_name = "host|direct")]
    auth_route: String,

    /// ingress-nginx answers 400 to hosts with more than a port behind them, to paths with dot segments, and to those that only begin
    /// like the outpost's, by all the lines in docs/data-planes.md, so rewrite-target is safe to protect and a forged Host opens no
    /// app.
    #[arg(long, env = "INGRESS_SSO_NGINX_REJECTS_DOT_SEGMENTS")]
    nginx_rejects_dot_segments: bool,

    /// See [`TraefikArgs`].
    #[command(flatten)]
    traefik: TraefikArgs,

    /// DNS domain of the cluster.
    #[arg(long, env = "INGRESS_SSO_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
}

/// How Traefik is set up, where that cannot be seen in the cluster.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraefikArgs {
    /// Traefik runs with providers.kubernetesIngress.allowExternalNameServices, so the outpost path can be routed there.
    #[arg(long, env = "INGRESS_SSO_TRAEFIK_ALLOWS_EXTERNAL_NAME")]
    traefik_allows_external_name: bool,

    /// Something in front of Traefik ends TLS and overwrites all X-Forwarded-* headers, so the outpost may believe them.
    /// Where clients can send them past it, they choose as which app they are let in: see docs/data-planes.md.
    #[arg(long, env = "INGRESS_SSO_TRAEFIK_TRUSTS_FORWARD_HEADERS")]
    traefik_trusts_forward_headers: bool,

    /// Traefik runs with safeNaming for its Kubernetes providers.
    #[arg(long, env = "INGRESS_SSO_TRAEFIK_SAFE_NAMING")]
    traefik_safe_naming: bool,
}

impl From<TraefikArgs> for TraefikSettings {
    fn from(args: TraefikArgs) -> Self {
        Self {
            allows_external_name: args.traefik_allows_external_name,
            trusts_forward_headers: args.traefik_trusts_forward_headers,
            safe_naming: args.traefik_safe_naming,
        }
    }
}

impl PlanArgs {
    /// The settings these arguments spell.
    pub fn settings(&self) -> Result<Settings, InvalidSetting> {
        Settings::validate(&RawSettings {
            annotation_prefix: &self.prefix.annotation_prefix,
            outposts: &self.outposts,
            default_outpost: self.default_outpost.as_deref(),
            classes: &self.classes,
            auth_route: &self.auth_route,
            nginx_rejects_dot_segments: self.nginx_rejects_dot_segments,
            traefik: self.traefik.into(),
            cluster_domain: &self.cluster_domain,
        })
    }

    /// Prefix of the annotations and labels, as given.
    pub(super) fn annotation_prefix(&self) -> &str {
        &self.prefix.annotation_prefix
    }

    /// Whether they are those of a command line and an environment without any.
    pub fn are_defaults(&self) -> bool {
        RunArgs::of_container(&[], &[]).is_ok_and(|defaults| defaults.plan == *self)
    }

    /// The flags that `other` spells differently.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (traefik, others) = (self.traefik, other.traefik);
        let flags = [
            ("--annotation-prefix", self.prefix != other.prefix),
            ("--outpost", self.outposts != other.outposts),
            ("--default-outpost", self.default_outpost != other.default_outpost),
            ("--class", self.classes != other.classes),
            ("--auth-route", self.auth_route != other.auth_route),
            (
                "--nginx-rejects-dot-segments",
                self.nginx_rejects_dot_segments != other.nginx_rejects_dot_segments,
            ),
            (
                "--traefik-allows-external-name",
                traefik.traefik_allows_external_name != others.traefik_allows_external_name,
            ),
            (
                "--traefik-trusts-forward-headers",
                traefik.traefik_trusts_forward_headers != others.traefik_trusts_forward_headers,
            ),
            ("--traefik-safe-naming", traefik.traefik_safe_naming != others.traefik_safe_naming),
            ("--cluster-domain", self.cluster_domain != other.cluster_domain),
        ];
        flags.into_iter().filter_map(|(flag, differs)| differs.then_some(flag)).collect()
    }
}
