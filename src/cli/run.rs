//! Arguments of the controller, given to this process or found in a container.
#![allow(clippy::doc_markdown, reason = "backticks would show in --help")]

use super::{PlanArgs, TrustArgs};
use crate::config::{InvalidSetting, Scope};
use crate::contract::lease_name;
use crate::lease::LeaseName;
use crate::probe::{Trust, TrustError};
use crate::telemetry::LogFormat;
use clap::builder::Resettable;
use clap::{ArgAction, Args, FromArgMatches};
use std::net::SocketAddr;

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

    /// See [`TrustArgs`].
    #[command(flatten)]
    trust: TrustArgs,

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
            None => lease_name(self.plan.annotation_prefix(), self.scopes()?.0.names()),
        };
        let namespace = self.lease_namespace.as_deref().unwrap_or(usual_namespace);
        LeaseName::new(namespace, &name).map(|name| Some(name).filter(|_| self.leader_elect))
    }

    /// Whose certificates are accepted from outposts, if these are asked at all.
    pub fn trust(&self) -> Result<Option<Trust>, TrustError> {
        self.probe.then(|| self.trust.trust()).transpose()
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
