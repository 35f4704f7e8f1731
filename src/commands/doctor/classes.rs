//! Who serves the classes that apps use, and how sure that is.

use super::check::Check;
use super::data_planes::Pods;
use crate::config::Settings;
use crate::facts::IngressClassFacts;
use crate::plan::Dialect;
use std::collections::BTreeMap;

/// `spec.controller` of Traefik's own classes.
const TRAEFIK: &str = "traefik.io/ingress-controller";

/// Judges the classes in `used`, each with the number of its apps. `known` is `None` where they could not be listed, and so
/// is `pods`.
pub(super) fn check(
    used: &BTreeMap<String, usize>,
    known: Option<&[IngressClassFacts]>,
    pods: Option<&Pods>,
    settings: &Settings,
) -> Vec<Check> {
    used.iter().filter_map(|(class, apps)| check_one(class, *apps, known, pods, settings)).collect()
}

fn check_one(
    class: &str,
    apps: usize,
    known: Option<&[IngressClassFacts]>,
    pods: Option<&Pods>,
    settings: &Settings,
) -> Option<Check> {
    let subject = format!("class {class}");
    let apps = if apps == 1 { "1 app".to_owned() } else { format!("{apps} apps") };
    if let Some(dialect) = settings.classes.get(class) {
        return Some(match pods.filter(|pods| is_contradicted(*dialect, pods)) {
            None => Check::good(subject, format!("taken for {dialect}, by --class; {apps}")),
            Some(_) => Check::catch(subject, contradiction(*dialect, &apps))
                .remedy("kubectl get pods -A | grep -e nginx -e traefik\nand correct or remove --class"),
        });
    }
    let facts = known?.iter().find(|facts| *facts.key.name == *class);
    let Some(facts) = facts else {
        let finding = format!("{apps} of a class that has no IngressClass");
        return Some(Check::wrong(subject, finding).remedy(format!(
            "kubectl get ingressclasses\nor have the admin say who serves it with --class {class}=DIALECT"
        )));
    };
    let controller = &facts.controller;
    Some(match Dialect::of_class(facts) {
        None => Check::wrong(
            subject,
            format!("{apps} of a class that {controller:?} serves, which is not supported"),
        )
        .remedy(format!(
            "supported are {}; if one of these does serve it: --class {class}=DIALECT",
            Dialect::supported()
        )),
        Some(Dialect::Nginx) if may_be_traefiks(known?, pods) => Check::catch(
            subject,
            format!(
                "taken for {}, by its controller {controller}; but Traefik is in this cluster and no Pod of ingress-nginx is, and \
                 where Traefik serves the class, these annotations leave its {apps} open",
                Dialect::Nginx
            ),
        )
        .remedy(format!("--class {class}={}", Dialect::TraefikNginx)),
        Some(dialect) if facts.is_of_traefik_chart && dialect == Dialect::TraefikNginx => {
            Check::good(subject, format!("taken for {dialect}, since Traefik's chart made it; {apps}"))
        }
        Some(dialect) => Check::good(subject, format!("taken for {dialect}, by its controller {controller}; {apps}")),
    })
}

/// Whether `dialect` is of one ingress controller and only the other one is in the cluster.
fn is_contradicted(dialect: Dialect, pods: &Pods) -> bool {
    match dialect {
        Dialect::Nginx => pods.nginx.is_empty() && !pods.traefik.is_empty(),
        Dialect::TraefikNginx | Dialect::Traefik => pods.traefik.is_empty() && !pods.nginx.is_empty(),
    }
}

/// What follows if the Pods are right and the flag is not.
fn contradiction(dialect: Dialect, apps: &str) -> String {
    let (here, missing, then) = match dialect {
        Dialect::Nginx => ("Traefik", "ingress-nginx", "open"),
        Dialect::TraefikNginx => ("ingress-nginx", "Traefik", "closed to everybody, with 500"),
        Dialect::Traefik => ("ingress-nginx", "Traefik", "open"),
    };
    format!(
        "taken for {dialect}, by --class; but {here} is in this cluster and no Pod of {missing} is, and where {here} serves the \
         class, these annotations leave its {apps} {then}"
    )
}

/// Whether there is a Traefik and no ingress-nginx that could serve a class.
fn may_be_traefiks(known: &[IngressClassFacts], pods: Option<&Pods>) -> bool {
    let Some(pods) = pods else { return false };
    let has_traefik = !pods.traefik.is_empty() || known.iter().any(|class| class.controller == TRAEFIK);
    has_traefik && pods.nginx.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Level;
    use k8s_openapi::api::networking::v1::IngressClass;
    use serde_json::json;

    fn class(name: &str, controller: &str, labels: &serde_json::Value) -> IngressClassFacts {
        let class: IngressClass = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels }, "spec": { "controller": controller },
        }))
        .unwrap();
        IngressClassFacts::extract(&class)
    }

    fn used(class: &str) -> BTreeMap<String, usize> {
        [(class.to_owned(), 2)].into()
    }

    #[test]
    fn by_what_a_class_is_taken_for_what() {
        let known = [
            class("nginx", "k8s.io/ingress-nginx", &json!({})),
            class("old", "k8s.io/ingress-nginx", &json!({ "app.kubernetes.io/name": "traefik" })),
            class("other", "example.com/other", &json!({})),
        ];
        let by_flag =
            Settings { classes: [("x".to_owned(), Dialect::Traefik)].into(), ..Settings::default() };
        for (name, level, finding) in [
            ("nginx", Level::Good, "taken for nginx, by its controller k8s.io/ingress-nginx; 2 apps"),
            ("old", Level::Good, "taken for traefik-nginx, since Traefik's chart made it; 2 apps"),
            ("x", Level::Good, "taken for traefik, by --class; 2 apps"),
            (
                "other",
                Level::Wrong,
                "2 apps of a class that \"example.com/other\" serves, which is not supported",
            ),
            ("none", Level::Wrong, "2 apps of a class that has no IngressClass"),
        ] {
            let checks = check(&used(name), Some(&known), None, &by_flag);
            assert_eq!((checks[0].level, checks[0].finding.as_str()), (level, finding));
        }
        assert_eq!(check(&used("nginx"), None, None, &by_flag), []);
    }

    #[test]
    fn a_flag_that_the_pods_contradict_is_a_catch() {
        let (none, some) = (Pods::default(), vec![k8s_openapi::api::core::v1::Pod::default()]);
        let nginx = Pods { nginx: some.clone(), ..Pods::default() };
        let traefik = Pods { traefik: some.clone(), ..Pods::default() };
        let both = Pods { nginx: some.clone(), traefik: some };
        for (dialect, wrong, right, then) in [
            (Dialect::Nginx, &traefik, &nginx, "2 apps open"),
            (Dialect::Traefik, &nginx, &traefik, "2 apps open"),
            (Dialect::TraefikNginx, &nginx, &traefik, "2 apps closed to everybody"),
        ] {
            let by_flag = Settings { classes: [("x".to_owned(), dialect)].into(), ..Settings::default() };
            let check = |pods: &Pods| check(&used("x"), None, Some(pods), &by_flag).remove(0);
            let found = check(wrong);
            assert_eq!(found.level, Level::Catch, "{dialect}");
            assert!(found.finding.contains(then), "{}", found.finding);
            for pods in [right, &both, &none] {
                assert_eq!(check(pods).level, Level::Good, "{dialect}");
            }
        }
    }

    #[test]
    fn a_class_of_ingress_nginx_beside_traefik_alone_is_a_catch() {
        let nginx = class("nginx", "k8s.io/ingress-nginx", &json!({}));
        let with_traefik = [nginx.clone(), class("traefik", TRAEFIK, &json!({}))];
        let level = |known: &[IngressClassFacts], pods: &Pods| {
            check(&used("nginx"), Some(known), Some(pods), &Settings::default())[0].level
        };
        let (none, some) = (Pods::default(), vec![k8s_openapi::api::core::v1::Pod::default()]);
        let traefik = Pods { traefik: some.clone(), ..Pods::default() };
        let both = Pods { nginx: some.clone(), traefik: some };
        assert_eq!(level(&with_traefik, &none), Level::Catch);
        assert_eq!(level(std::slice::from_ref(&nginx), &traefik), Level::Catch);
        assert_eq!(level(&with_traefik, &both), Level::Good);
        assert_eq!(level(&[nginx], &none), Level::Good);
    }
}
