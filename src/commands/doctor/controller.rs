//! The controller's Deployment: whether it is there and ready, and with which settings it runs.

use super::check::Check;
use crate::cli::{PlanArgs, RunArgs};
use crate::config::{InvalidSetting, Scope, Settings};
use crate::facts::ObjectKey;
use crate::lease::LeaseName;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt;

/// Labels of the Deployment, as deploy/install.yaml has them.
pub(in crate::commands) const SELECTOR: &str =
    "app.kubernetes.io/name=ingress-sso,app.kubernetes.io/component=controller";

const SUBJECT: &str = "controller";

/// How to install it.
pub(super) const INSTALL: &str = "kubectl apply -f deploy/install.yaml";

/// The chart, as it is released.
const CHART: &str = "oci://ghcr.io/djieno/charts/ingress-sso";

/// A Deployment of the controller.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Controller {
    /// Namespace and name of the Deployment.
    pub(in crate::commands) key: ObjectKey,
    /// Name of its `ServiceAccount`, in the same namespace.
    pub(super) account: String,
    /// How many Pods there are to be.
    pub(in crate::commands) replicas: i32,
    /// The release of Helm that it is of.
    release: Option<String>,
    ready: i32,
    image: String,
    /// Arguments after `run`, as written.
    args: Vec<String>,
    /// What these mean, together with the environment; the reason where they mean nothing.
    run: Result<RunArgs, String>,
}

impl Controller {
    /// What a Deployment says about the controller in it.
    pub(in crate::commands) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
        let (container, args) =
            containers.iter().find_map(|container| Some((container, arguments(container)?))).unzip();
        let args = args.unwrap_or_default();
        let run = match container {
            Some(container) => {
                RunArgs::of_container(&args, &environment(container)).map_err(|error| first_line(&error))
            }
            None => Err("none of its containers has the argument run".to_owned()),
        };
        Self {
            key: ObjectKey::of(&deployment.metadata),
            account: pod
                .and_then(|pod| pod.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            release: deployment.annotations().get("meta.helm.sh/release-name").cloned(),
            ready: deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0),
            image: container.and_then(|container| container.image.clone()).unwrap_or_default(),
            args,
            run,
        }
    }

    /// Its user, as the API server knows it.
    pub(super) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.key.namespace, self.account)
    }

    /// The Lease by which one of its replicas is the one that writes; `None` where there is none, by its settings.
    pub(in crate::commands) fn lease(&self) -> Option<LeaseName> {
        self.run.as_ref().ok()?.lease(&self.key.namespace).ok()?
    }

    /// By what it plans; `None` where its arguments mean nothing.
    pub(in crate::commands) fn settings(&self) -> Option<Settings> {
        self.run.as_ref().ok()?.plan.settings().ok()
    }

    /// Whether it may write in one of the namespaces of `scope`, as far as is known.
    pub(in crate::commands) fn looks_after(&self, scope: &Scope) -> bool {
        let own = self.run.as_ref().ok().and_then(|run| run.scopes().ok()).map(|(own, _)| own);
        match (own, scope) {
            (None | Some(Scope::Cluster), _) | (_, Scope::Cluster) => true,
            (Some(own), scope) => scope.names().any(|namespace| own.contains(namespace)),
        }
    }

    /// How to install it again, as it was.
    pub(super) fn install(&self) -> String {
        match &self.release {
            Some(release) => {
                format!("helm upgrade {release} {CHART} -n {} --reset-then-reuse-values", self.key.namespace)
            }
            None => INSTALL.to_owned(),
        }
    }

    /// How to read its log.
    pub(super) fn logs(&self) -> String {
        format!("kubectl logs -n {} deployment/{}", self.key.namespace, self.key.name)
    }

    fn check(&self) -> Check {
        let Self { key, image, ready, replicas, .. } = self;
        let command = [&["run".to_owned()], self.args.as_slice()].concat().join(" ");
        let text =
            format!("Deployment {key} runs {image} with \"{command}\", {ready} of {replicas} Pods ready");
        if *ready > 0 {
            return Check::good(SUBJECT, text);
        }
        let remedy = if *replicas == 0 {
            format!("kubectl scale -n {} deployment/{} --replicas=1", key.namespace, key.name)
        } else {
            format!("kubectl describe pods -n {} -l {SELECTOR}\n{}", key.namespace, self.logs())
        };
        Check::wrong(SUBJECT, text).remedy(remedy)
    }
}

/// By what everything is judged.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) settings: Settings,
    /// Where the controller looks for apps.
    pub(super) scope: Scope,
    /// Where it looks for outposts.
    pub(super) outpost_scope: Scope,
    /// The controller; `None` where it was not found, or where there are several.
    pub(super) controller: Option<Controller>,
}

/// Finds out by which settings to judge: those in `given`, or those of the only Deployment where none are given.
/// An error where those given cannot be used.
pub(super) fn choose(
    given: &PlanArgs,
    deployments: &[Deployment],
) -> Result<(Setup, Vec<Check>), InvalidSetting> {
    let as_given = Setup {
        settings: given.settings()?,
        scope: Scope::Cluster,
        outpost_scope: Scope::Cluster,
        controller: None,
    };
    let controllers: Vec<Controller> = deployments.iter().map(Controller::of).collect();
    let mut checks: Vec<Check> = controllers.iter().map(Controller::check).collect();
    let [controller] = controllers.as_slice() else {
        checks.push(of_none_or_several(&controllers));
        return Ok((as_given, checks));
    };
    let controller = Some(controller.clone());
    let run = match controller.as_ref().map(|controller| &controller.run) {
        Some(Ok(run)) => run,
        Some(Err(error)) => {
            checks.push(unusable(controller.as_ref(), error));
            return Ok((Setup { controller, ..as_given }, checks));
        }
        None => return Ok((as_given, checks)),
    };
    let (settings, scopes) = (run.plan.settings(), run.scopes());
    let (settings, (scope, outpost_scope)) = match (settings, scopes) {
        (Ok(settings), Ok(scopes)) => (settings, scopes),
        (Err(error), _) | (_, Err(error)) => {
            checks.push(unusable(controller.as_ref(), &error.to_string()));
            return Ok((Setup { controller, ..as_given }, checks));
        }
    };
    let differences = given.differences(&run.plan);
    if given.are_defaults() {
        if !differences.is_empty() {
            checks.push(Check::good(
                "settings",
                format!("those of the Deployment: {}", differences.join(", ")),
            ));
        }
        return Ok((Setup { settings, scope, outpost_scope, controller }, checks));
    }
    if !differences.is_empty() {
        let finding = format!(
            "those given here are not those of the Deployment ({}), so what follows is how things would be with them",
            differences.join(", ")
        );
        checks.push(Check::catch("settings", finding).remedy("leave them out to judge by the Deployment's"));
    }
    Ok((Setup { scope, outpost_scope, controller, ..as_given }, checks))
}

fn of_none_or_several(controllers: &[Controller]) -> Check {
    if controllers.is_empty() {
        let finding =
            format!("no Deployment with the labels {SELECTOR}: if it runs elsewhere, give its settings here");
        return Check::catch(SUBJECT, finding).remedy(INSTALL);
    }
    let reason =
        "there are several Deployments, so what is theirs (settings, rights, namespaces) is not known here";
    Check::unchecked("settings", reason).remedy("give the settings of one of them, and its namespace with -n")
}

fn unusable(controller: Option<&Controller>, error: &str) -> Check {
    let check = Check::wrong("settings", format!("those of the Deployment cannot be used: {error}"));
    match controller {
        Some(Controller { key, .. }) => {
            check.remedy(format!("kubectl edit deployment -n {} {}", key.namespace, key.name))
        }
        None => check,
    }
}

/// The arguments after `run`; `None` where there is no `run`.
fn arguments(container: &Container) -> Option<Vec<String>> {
    let all = container.command.iter().chain(&container.args).flatten();
    let mut after = all.skip_while(|arg| *arg != "run");
    after.next()?;
    Some(after.cloned().collect())
}

/// Its variables, but those that come from elsewhere.
fn environment(container: &Container) -> Vec<(String, String)> {
    let variables = container.env.iter().flatten();
    variables.filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect()
}

/// clap says how to get help in the others.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Level;
    use serde_json::json;

    fn deployment(name: &str, args: &[&str], ready: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "namespace": "sso", "name": name },
            "spec": { "replicas": 1, "selector": {}, "template": { "spec": {
                "serviceAccountName": "sso",
                "containers": [
                    { "name": "proxy", "image": "proxy" },
                    {
                        "name": "controller", "image": "ingress-sso:1", "args": args,
                        "env": [{ "name": "INGRESS_SSO_CLUSTER_DOMAIN", "value": "k8s.example" }],
                    },
                ],
            } } },
            "status": { "readyReplicas": ready },
        }))
        .unwrap()
    }

    fn given(args: &[&str]) -> PlanArgs {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        RunArgs::of_container(&args, &[]).unwrap().plan
    }

    fn lines(checks: &[Check]) -> Vec<(Level, &str)> {
        checks.iter().map(|check| (check.level, check.finding.as_str())).collect()
    }

    #[test]
    fn without_settings_those_of_the_deployment_are_taken() {
        let found = [deployment("a", &["run", "--class", "nginx=traefik", "--namespace=shop"], 1)];
        let (setup, checks) = choose(&given(&[]), &found).unwrap();
        assert_eq!(setup.settings.classes.len(), 1);
        assert_eq!(setup.scope, Scope::Namespaces(["shop".to_owned()].into()));
        assert_eq!(setup.controller.unwrap().user(), "system:serviceaccount:sso:sso");
        let runs = r#"Deployment sso/a runs ingress-sso:1 with "run --class nginx=traefik --namespace=shop", 1 of 1 Pods ready"#;
        let expected =
            [(Level::Good, runs), (Level::Good, "those of the Deployment: --class, --cluster-domain")];
        assert_eq!(lines(&checks), expected);
    }

    #[test]
    fn given_settings_go_first_and_a_difference_is_told() {
        let found = [deployment("a", &["run", "--namespace=shop"], 1)];
        let (setup, checks) =
            choose(&given(&["--class=x=nginx", "--cluster-domain=k8s.example"]), &found).unwrap();
        assert!(setup.settings.classes.contains_key("x"));
        assert_ne!(setup.scope, Scope::Cluster);
        let [_, (Level::Catch, finding)] = lines(&checks)[..] else { panic!("{checks:?}") };
        assert!(finding.contains("(--class)"), "{finding}");
    }

    #[test]
    fn what_is_wrong_with_a_deployment() {
        let (_, checks) = choose(&given(&[]), &[deployment("a", &["run"], 0)]).unwrap();
        assert_eq!(checks[0].level, Level::Wrong);
        assert!(
            checks[0].remedy.as_ref().unwrap().contains("kubectl logs -n sso deployment/a"),
            "{checks:?}"
        );
        for (args, error) in [
            (&["run", "--outposts=x"][..], "unexpected argument '--outposts'"),
            (&["run", "--class=x"], "it has no equals sign"),
            (&["render"], "the argument run"),
        ] {
            let (setup, checks) = choose(&given(&[]), &[deployment("a", args, 1)]).unwrap();
            assert!(setup.controller.is_some());
            let last = checks.last().unwrap();
            assert_eq!(last.level, Level::Wrong);
            assert!(last.finding.contains(error), "{last:?}");
        }
    }

    #[test]
    fn what_helm_installed_is_installed_again_by_helm() {
        let mut found = deployment("a", &["run"], 1);
        assert_eq!(Controller::of(&found).install(), "kubectl apply -f deploy/install.yaml");
        found.annotations_mut().insert("meta.helm.sh/release-name".to_owned(), "demo".to_owned());
        let expected =
            "helm upgrade demo oci://ghcr.io/djieno/charts/ingress-sso -n sso --reset-then-reuse-values";
        assert_eq!(Controller::of(&found).install(), expected);
    }

    #[test]
    fn none_and_several() {
        let (setup, checks) = choose(&given(&[]), &[]).unwrap();
        assert!(setup.controller.is_none());
        assert_eq!(checks[0].level, Level::Catch);
        let (setup, checks) =
            choose(&given(&[]), &[deployment("a", &["run"], 1), deployment("b", &["run"], 1)]).unwrap();
        assert!(setup.controller.is_none());
        assert_eq!(checks.len(), 3);
        assert_eq!(checks[2].level, Level::Unchecked);
    }
}
