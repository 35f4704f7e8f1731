//! The command line, and nothing else. Its doc comments are the text of `--help`.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use crate::commands::cluster::ClusterArgs;
use crate::config::{self, InvalidSetting, RawSettings, Scope, Settings, TraefikSettings};
use crate::contract::{DEFAULT_PREFIX, Keys, lease_name};
use crate::facts::is_dns_label;
use crate::knock::Through;
use crate::lease::LeaseName;
use crate::probe::{Trust, TrustError};
use crate::telemetry::LogFormat;
use clap::builder::Resettable;
use clap::{ArgAction, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Puts an app on Kubernetes behind authentik when its Ingress carries one annotation.
#[derive(Debug, Parser)]
#[command(name = "ingress-sso", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller against the cluster of the current kubeconfig, or of the Pod it runs in.
    Run(RunArgs),
    /// Print what the controller would make of the Ingresses in a file, as YAML to apply or commit. Needs no cluster.
    ///
    /// Documents that are not Ingresses, or that do not ask for protection, pass through as they are. What cannot be
    /// protected passes through too, is explained on standard error, and makes the exit code 1. IngressClass and
    /// outpost Service documents in the input are taken into account.
    Render(RenderArgs),
    /// Show what became of the apps in a cluster, as the controller wrote it on their Ingresses.
    ///
    /// What needs somebody comes first. Needs the right to list Ingresses in the namespace, and no other. The exit code is 0
    /// whenever they could be listed, whatever the statuses.
    Status(StatusArgs),
    /// Look at everything that could be wrong with the controller, the outposts and the apps of a cluster, and say for each
    /// what was found and what to do about it. Changes nothing.
    ///
    /// Each finding is a line with ✓ (good), ! (a catch), ✗ (wrong) or - (nobody could look); what to do is below it. Outposts
    /// are asked as a stranger would ask them, whether they serve the hosts of the apps: directly, or through the API server
    /// where their names do not resolve. Without settings, those of the controller's Deployment are taken. The exit code is 0
    /// where all is good, 1 where there are catches only, and 2 where something is wrong or there is no cluster to look at.
    Doctor(DoctorArgs),
}

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
    default_outpost: Option<String>,

    /// Who serves a class, whatever its IngressClass says: nginx, traefik-nginx or traefik; repeatable. Say
    /// nginx=traefik-nginx where Traefik serves the class of an ingress-nginx that is gone.
    #[arg(long = "class", env = "INGRESS_SSO_CLASS", value_delimiter = ',', value_name = "NAME=DIALECT", action = ArgAction::Append)]
    classes: Vec<String>,

    /// How ingress-nginx reaches the outpost, unless the app says: host (through the app's own host) or direct.
    #[arg(long, env = "INGRESS_SSO_AUTH_ROUTE", default_value = "host", value_name = "host|direct")]
    auth_route: String,

    /// ingress-nginx answers 400 to paths with dot segments and to those that only begin like the outpost's (see the
    /// README), so rewrite-target is safe to protect.
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
    /// Where clients can send them past it, they choose as which app they are let in: see the docs.
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

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,

    /// Namespace to look for apps in; repeatable. Without it: all.
    #[arg(long = "namespace", short, env = "INGRESS_SSO_NAMESPACE", value_delimiter = ',', value_name = "NAME", action = ArgAction::Append)]
    namespaces: Vec<String>,

    /// Namespace to discover outposts in; repeatable. Without it: all. Whoever may create Services in such a namespace
    /// can add an outpost.
    #[arg(long = "outpost-namespace", env = "INGRESS_SSO_OUTPOST_NAMESPACE", value_delimiter = ',', value_name = "NAME", action = ArgAction::Append)]
    outpost_namespaces: Vec<String>,

    /// Ask outposts whether they serve the hosts of apps. Without it, Protected means no more than that route and
    /// annotations are in place.
    #[arg(long, env = "INGRESS_SSO_PROBE", default_value = "true", value_name = "true|false", action = ArgAction::Set)]
    pub probe: bool,

    /// PEM file of certificate authorities to accept from outposts that are reached by https, besides those of the system.
    #[arg(long, env = "INGRESS_SSO_OUTPOST_CA", value_name = "FILE")]
    outpost_ca: Option<PathBuf>,

    /// Work only while holding a Lease, so that several replicas can run and one of them writes.
    #[arg(long, env = "INGRESS_SSO_LEADER_ELECT", default_value = "true", value_name = "true|false", action = ArgAction::Set)]
    leader_elect: bool,

    /// Name of that Lease. Without it: ingress-sso, or one that goes with --namespace and --annotation-prefix.
    #[arg(long, env = "INGRESS_SSO_LEASE_NAME", value_name = "NAME")]
    lease_name: Option<String>,

    /// Namespace of that Lease. Without it: that of the Pod, or of the kubeconfig.
    #[arg(long, env = "INGRESS_SSO_LEASE_NAMESPACE", value_name = "NAME")]
    lease_namespace: Option<String>,

    /// How many apps to work on at once, which is also the number of connections to the API server.
    #[arg(long, env = "INGRESS_SSO_CONCURRENCY", default_value = "16", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Address for /healthz, /readyz and /metrics.
    #[arg(long, env = "INGRESS_SSO_LISTEN", default_value = "0.0.0.0:8080", value_name = "IP:PORT")]
    pub listen: SocketAddr,

    /// How log lines look. RUST_LOG says how many, such as ingress_sso=debug.
    #[arg(long, env = "INGRESS_SSO_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
}

impl RunArgs {
    /// The Lease to hold, if there is to be one; `usual_namespace` is for arguments that name none.
    pub fn lease(&self, usual_namespace: &str) -> Result<Option<LeaseName>, InvalidSetting> {
        let name = match &self.lease_name {
            Some(name) => name.clone(),
            None => lease_name(&self.plan.prefix.annotation_prefix, self.scopes()?.0.names()),
        };
        let namespace = self.lease_namespace.as_deref().unwrap_or(usual_namespace);
        LeaseName::new(namespace, &name).map(|name| Some(name).filter(|_| self.leader_elect))
    }

    /// Whose certificates are accepted from outposts, if these are asked at all.
    pub fn trust(&self) -> Result<Option<Trust>, TrustError> {
        self.probe.then(|| Trust::new(self.outpost_ca.as_deref())).transpose()
    }

    /// Where apps are looked for, and where outposts.
    pub fn scopes(&self) -> Result<(Scope, Scope), InvalidSetting> {
        let apps = Scope::new("--namespace", &self.namespaces)?;
        Ok((apps, Scope::new("--outpost-namespace", &self.outpost_namespaces)?))
    }

    /// What a container with these arguments after `run` and this environment runs with, whatever the environment of this
    /// process is. An error where it ends with one.
    pub fn of_container(args: &[String], env: &[(String, String)]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("run"));
        let mut all = vec!["run".to_owned()];
        for argument in command.get_arguments() {
            let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
            let value = env.iter().find(|(name, _)| variable == name.as_str()).map(|(_, value)| value);
            let Some(value) = value.filter(|_| !is_given(argument, flag, args)) else { continue };
            if argument.get_action().takes_values() {
                all.push(format!("--{flag}={value}"));
            } else if !matches!(value.to_lowercase().as_str(), "n" | "no" | "f" | "false" | "off" | "0") {
                all.push(format!("--{flag}"));
            }
        }
        all.extend_from_slice(args);
        let command = command.mut_args(|argument| argument.env(Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(all)?)
    }
}

/// Whether `argument`, whose long name is `flag`, is among `args`: it then goes before its variable.
fn is_given(argument: &clap::Arg, flag: &str, args: &[String]) -> bool {
    let short = argument.get_short().map(|short| format!("-{short}"));
    args.iter().any(|arg| {
        let is_long = arg.strip_prefix("--").and_then(|arg| arg.strip_prefix(flag));
        is_long.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            || short.as_ref().is_some_and(|short| arg.starts_with(short))
    })
}

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,

    /// YAML file with one or more documents; - is standard input.
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,

    /// Namespace of Ingresses that name none.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Namespace to look in. Without it: that of the kubeconfig's context.
    #[arg(long, short, value_name = "NAME", value_parser = namespace, conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,

    /// Look in all namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,

    /// After the table, print a line for each app that changes, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,

    /// wide: all hosts, whole messages, and the class. json: one object, or with --watch one object a line.
    #[arg(long, short, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub output: Option<StatusOutput>,

    /// See [`ClusterArgs`].
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// See [`PrefixArgs`].
    #[command(flatten)]
    pub prefix: PrefixArgs,
}

/// How `status` prints, if not as a table that fits the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// A table with everything.
    Wide,
    /// JSON.
    Json,
}

fn namespace(name: &str) -> Result<String, String> {
    if is_dns_label(name) {
        return Ok(name.to_owned());
    }
    Err("a namespace's name is a DNS label: a-z, 0-9 and dashes, at most 63".to_owned())
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The Ingress of an app, to look at what bears on that one only. Without it: all that ask for protection.
    #[arg(value_name = "INGRESS")]
    pub ingress: Option<String>,

    /// Namespace of the apps to look at. Without it: that of the context for an INGRESS, else all.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Knock at the apps' public addresses as well, as a stranger with the known tricks: up to 24 harmless GETs for each host.
    /// With a URL such as https://203.0.113.5, what listens there is taken for their ingress controller, whatever DNS says.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    #[allow(clippy::option_option, reason = "a flag that may have a value")]
    pub through: Option<Option<Through>>,

    /// See [`ClusterArgs`].
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// How findings are printed.
    #[arg(long, short, default_value = "text", value_enum)]
    pub output: Output,

    /// See [`PlanArgs`].
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: {"checks": [{"level", "subject", "finding", "remedy"}]}.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_container(args: &[&str], env: &[(&str, &str)]) -> RunArgs {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let env: Vec<_> = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        RunArgs::of_container(&args, &env).unwrap()
    }

    #[test]
    fn a_container_has_settings_by_arguments_and_by_its_environment() {
        let by_args = of_container(&["--default-outpost", "a", "--traefik-safe-naming", "-n=shop"], &[]);
        let by_env = of_container(
            &[],
            &[
                ("INGRESS_SSO_DEFAULT_OUTPOST", "a"),
                ("INGRESS_SSO_TRAEFIK_SAFE_NAMING", "true"),
                ("INGRESS_SSO_NAMESPACE", "shop"),
                ("INGRESS_SSO_NGINX_REJECTS_DOT_SEGMENTS", "false"),
                ("POD_NAME", "x"),
            ],
        );
        assert_eq!(by_args.plan, by_env.plan);
        assert_eq!(by_args.scopes(), by_env.scopes());
        assert!(!by_args.plan.are_defaults());
        assert!(of_container(&[], &[]).plan.are_defaults());
        let both = of_container(
            &["--default-outpost=b", "-nshop"],
            &[("INGRESS_SSO_DEFAULT_OUTPOST", "a"), ("INGRESS_SSO_NAMESPACE", "other")],
        );
        assert_eq!(both.plan.default_outpost.as_deref(), Some("b"));
        assert_eq!(both.namespaces, ["shop"]);
        assert_eq!(both.plan.differences(&by_args.plan), ["--default-outpost", "--traefik-safe-naming"]);
    }

    /// A setting that is not compared would be taken for the same.
    #[test]
    fn every_setting_is_compared() {
        let plain = of_container(&[], &[]).plan;
        let command = PlanArgs::augment_args(clap::Command::new("plan"));
        for argument in command.get_arguments() {
            let flag = format!("--{}", argument.get_long().unwrap());
            let value = argument.get_action().takes_values().then_some("x");
            let other = of_container(&[&[flag.as_str()], value.as_slice()].concat(), &[]).plan;
            assert_eq!(plain.differences(&other), [flag.as_str()]);
        }
    }
}
