//! How the ingress controllers are set up, as far as their Pods and `ConfigMaps` tell.

use super::check::Check;
use super::right::{Right, is_forbidden};
use crate::config::Settings;
use crate::errors::brief;
use crate::facts::ObjectKey;
use crate::plan::Dialect;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "app.kubernetes.io/name";

/// Values of [`NAME`] on Pods of ingress-nginx.
const NGINX: [&str; 3] = ["ingress-nginx", "rke2-ingress-nginx", "rke2-ingress-nginx-controller"];

/// The same of Traefik.
const TRAEFIK: [&str; 2] = ["traefik", "rke2-traefik"];

/// What `annotations-risk-level` can be, from the lowest on. `auth-url` has the third.
const RISK_LEVELS: [&str; 4] = ["low", "medium", "high", "critical"];
const RISK_LEVEL: &str = "annotations-risk-level";

/// Pods of ingress controllers that run or are about to.
#[derive(Debug, Default)]
pub(super) struct Pods {
    pub(super) nginx: Vec<Pod>,
    pub(super) traefik: Vec<Pod>,
}

/// Lists them, or says why not.
pub(super) async fn pods(client: &Client) -> Result<Pods, Check> {
    let names = NGINX.into_iter().chain(TRAEFIK).collect::<Vec<_>>().join(", ");
    let params = ListParams::default().labels(&format!("{NAME} in ({names})"));
    let pods = Api::<Pod>::all(client.clone()).list(&params).await.map_err(|error| {
        let right = Right::to_list::<Pod>(None);
        if is_forbidden(&error) {
            Check::unchecked("ingress controllers", format!("you may not {right}")).remedy(right.remedy())
        } else {
            Check::unchecked("ingress controllers", brief(&error))
        }
    })?;
    let is_alive = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
    };
    let (nginx, traefik) = pods
        .items
        .into_iter()
        .filter(is_alive)
        .partition(|pod| pod.labels().get(NAME).is_some_and(|name| NGINX.contains(&name.as_str())));
    Ok(Pods { nginx, traefik })
}

/// Judges the ingress controllers that serve apps of `dialects`.
pub(super) async fn check(
    client: &Client,
    pods: &Pods,
    dialects: &[Dialect],
    settings: &Settings,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if dialects.contains(&Dialect::Nginx) {
        checks.extend(check_nginx_args(&pods.nginx));
        for key in config_maps(&pods.nginx) {
            let found = Api::<ConfigMap>::namespaced(client.clone(), &key.namespace).get_opt(&key.name).await;
            checks.push(check_risk_level(&key, found.map(|found| found.and_then(|found| found.data))));
        }
    }
    if dialects.contains(&Dialect::Traefik) {
        checks.push(check_traefik_args(&pods.traefik, settings));
    }
    checks
}

fn check_nginx_args(pods: &[Pod]) -> Vec<Check> {
    let subject = "ingress-nginx";
    if pods.is_empty() {
        return vec![Check::unchecked(
            subject,
            format!("no Pod with the label {NAME} in ({})", NGINX.join(", ")),
        )];
    }
    let flag = "disable-svc-external-name";
    match pods.iter().find(|pod| argument(pod, flag).is_some_and(is_true)) {
        None => vec![Check::good(subject, "takes ExternalName Services")],
        Some(pod) => {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            let finding =
                format!("Pod {namespace}/{name} runs with --{flag}, so the login route answers 503");
            vec![Check::wrong(subject, finding).remedy(format!("take --{flag} out of its arguments"))]
        }
    }
}

/// The `ConfigMaps` that these Pods read their settings from.
fn config_maps(pods: &[Pod]) -> BTreeSet<ObjectKey> {
    let of_pod = |pod: &Pod| {
        let own = pod.namespace().unwrap_or_default();
        let value = argument(pod, "configmap")?.replace("$(POD_NAMESPACE)", &own);
        let (namespace, name) = value.split_once('/')?;
        Some(ObjectKey::new(namespace, name))
    };
    pods.iter().filter_map(of_pod).collect()
}

fn check_risk_level(key: &ObjectKey, data: Result<Option<BTreeMap<String, String>>, kube::Error>) -> Check {
    let subject = "ingress-nginx";
    let data = match data {
        Ok(data) => data.unwrap_or_default(),
        Err(error) if is_forbidden(&error) => {
            let right = Right { verb: "get", ..Right::to_list::<ConfigMap>(Some(&key.namespace)) };
            return Check::unchecked(subject, format!("{RISK_LEVEL}: you may not {right}"))
                .remedy(right.remedy());
        }
        Err(error) => return Check::unchecked(subject, format!("{RISK_LEVEL}: {}", brief(&error))),
    };
    let level = data.get(RISK_LEVEL).map_or("High", String::as_str);
    let position = RISK_LEVELS.iter().position(|known| level.eq_ignore_ascii_case(known));
    if position.is_none_or(|position| position >= 2) {
        return Check::good(subject, format!("takes auth-url, with the {RISK_LEVEL} {level}"));
    }
    let finding = format!("ConfigMap {key} has the {RISK_LEVEL} {level}, with which auth-url is rejected");
    Check::wrong(subject, finding).remedy(format!(
        "kubectl patch configmap -n {} {} --type=merge -p '{{\"data\":{{\"{RISK_LEVEL}\":\"High\"}}}}'",
        key.namespace, key.name
    ))
}

fn check_traefik_args(pods: &[Pod], settings: &Settings) -> Check {
    let subject = "Traefik";
    let Some(pod) = pods.first() else {
        return Check::unchecked(
            subject,
            format!("no Pod with the label {NAME} in ({})", TRAEFIK.join(", ")),
        );
    };
    if !arguments(pod).any(|arg| arg.to_lowercase().starts_with("--providers.")) {
        return Check::unchecked(subject, "its providers are not set up by arguments");
    }
    let allows = argument(pod, "providers.kubernetesingress.allowexternalnameservices").is_some_and(is_true);
    let setting = "--traefik-allows-external-name";
    match (allows, settings.traefik.allows_external_name) {
        (true, true) => Check::good(subject, format!("takes ExternalName Services, as {setting} says")),
        (false, false) => Check::good(
            subject,
            format!("takes no ExternalName Services, so apps have no route to sign out; {setting} is off, as it should be"),
        ),
        (true, false) => Check::catch(
            subject,
            format!("takes ExternalName Services and {setting} is off, so apps have no route to sign out"),
        )
        .remedy(format!("run the controller with {setting}")),
        (false, true) => Check::catch(
            subject,
            format!("takes no ExternalName Services and {setting} is on, so the routes to sign out lead nowhere"),
        )
        .remedy(format!(
            "run Traefik with --providers.kubernetesingress.allowexternalnameservices, or the controller without {setting}"
        )),
    }
}

fn arguments(pod: &Pod) -> impl Iterator<Item = &str> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.command.iter().chain(&container.args).flatten())
        .map(String::as_str)
}

/// The value of a flag in the spelling of Go and of Traefik, whose flags are the same in any case; `true` where it has none.
fn argument<'a>(pod: &'a Pod, flag: &str) -> Option<&'a str> {
    arguments(pod).find_map(|arg| {
        let arg = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
        let (name, value) = arg.split_once('=').unwrap_or((arg, "true"));
        name.eq_ignore_ascii_case(flag).then_some(value)
    })
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Level;
    use serde_json::json;

    fn pod(args: &[&str]) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "namespace": "ingress", "name": "pod" },
            "spec": { "containers": [{ "name": "controller", "args": args }] },
        }))
        .unwrap()
    }

    #[test]
    fn external_names_on_nginx() {
        let level = |args: &[&str]| check_nginx_args(&[pod(args)])[0].level;
        assert_eq!(level(&[]), Level::Good);
        assert_eq!(level(&["--disable-svc-external-name=false"]), Level::Good);
        assert_eq!(level(&["--disable-svc-external-name"]), Level::Wrong);
        assert_eq!(level(&["-disable-svc-external-name=true"]), Level::Wrong);
        assert_eq!(check_nginx_args(&[])[0].level, Level::Unchecked);
    }

    #[test]
    fn risk_levels_of_nginx() {
        let args = ["--configmap=$(POD_NAMESPACE)/nginx"];
        let key = config_maps(&[pod(&args), pod(&args)]).pop_first().unwrap();
        assert_eq!(key, ObjectKey::new("ingress", "nginx"));
        let check = |level: Option<&str>| {
            let data = level.map(|level| [(RISK_LEVEL.to_owned(), level.to_owned())].into());
            check_risk_level(&key, Ok(data))
        };
        for good in [None, Some("High"), Some("critical")] {
            assert_eq!(check(good).level, Level::Good, "{good:?}");
        }
        for bad in ["Medium", "low"] {
            assert_eq!(check(Some(bad)).level, Level::Wrong, "{bad}");
        }
        let remedy = check(Some("Low")).remedy.unwrap();
        assert!(
            remedy.ends_with(
                r#"-n ingress nginx --type=merge -p '{"data":{"annotations-risk-level":"High"}}'"#
            )
        );
    }

    #[test]
    fn external_names_on_traefik() {
        let check = |args: &[&str], says: bool| {
            let mut settings = Settings::default();
            settings.traefik.allows_external_name = says;
            check_traefik_args(&[pod(args)], &settings).level
        };
        let allows = ["--providers.kubernetesIngress.allowExternalNameServices=true"];
        let forbids = ["--providers.kubernetesingress"];
        assert_eq!(check(&allows, true), Level::Good);
        assert_eq!(check(&allows, false), Level::Catch);
        assert_eq!(check(&forbids, false), Level::Good);
        assert_eq!(check(&forbids, true), Level::Catch);
        assert_eq!(check(&["--configfile=/traefik.yaml"], true), Level::Unchecked);
        assert_eq!(check_traefik_args(&[], &Settings::default()).level, Level::Unchecked);
    }
}
