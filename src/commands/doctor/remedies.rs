//! Commands that do what a refusal's message says, where one can.

use crate::facts::ObjectKey;
use crate::plan::refusal::Refusal;

/// The command after which the app `app` is no longer refused for this reason, or that shows what is in its way. `None`
/// where only people know what is right.
pub(super) fn of(refusal: &Refusal, app: &ObjectKey) -> Option<String> {
    let ObjectKey { namespace, name } = app;
    let annotate = |what: String| Some(format!("kubectl annotate ingress -n {namespace} {name} {what}"));
    let set = |key: &str, value: &str| annotate(format!("{key}={value} --overwrite"));
    let show = |kind: &str, object: &ObjectKey| {
        Some(format!("kubectl get {kind} -n {} {} -o yaml", object.namespace, object.name))
    };
    match refusal {
        Refusal::InvalidAnnotation { key, allowed, .. } => set(key, allowed.first()?),
        Refusal::UnknownOutpost { key, known, .. } | Refusal::NoDefaultOutpost { key, known } => {
            set(key, known.first()?)
        }
        Refusal::OtherOutpostOnHost { key, theirs, .. } => set(key, theirs),
        Refusal::ClientCertificates { auth_route: key, .. } | Refusal::WildcardThroughHost { key, .. } => {
            set(key, "direct")
        }
        Refusal::TwoClasses { key, .. } => annotate(format!("{key}-")),
        Refusal::OwnAnnotation { key, .. }
        | Refusal::TlsPassthrough { key, .. }
        | Refusal::ClientCertificatesDropped { key }
        | Refusal::UpstreamHost { key, .. }
        | Refusal::Snippet { key }
        | Refusal::AuthMethod { key }
        | Refusal::CachedLogin { key, .. }
        | Refusal::LoginDropped { key, .. }
        | Refusal::ChallengeInPlace { key } => annotate(format!("{key}-")),
        Refusal::ForeignRoute { ingress, .. } | Refusal::SwallowedPath { ingress, .. } => {
            show("ingress", ingress)
        }
        Refusal::IngressNameTaken { name } => show("ingress", name),
        Refusal::ServiceNameTaken { name, .. } => show("service", name),
        Refusal::HeadersNameTaken { name } => show("configmap", name),
        Refusal::MiddlewareNameTaken { name } => show("middlewares.traefik.io", name),
        Refusal::MiddlewareNameShared { twin, .. } => show("middlewares.traefik.io", twin),
        Refusal::NoClass | Refusal::UnknownClass { .. } => Some("kubectl get ingressclasses".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_app_or_what_is_in_its_way() {
        let app = ObjectKey::new("shop", "web");
        let refusal = Refusal::InvalidAnnotation {
            key: "sso.example.com/authentik".to_owned(),
            value: "yes".to_owned(),
            allowed: &["true", "false"],
        };
        let expected = "kubectl annotate ingress -n shop web sso.example.com/authentik=true --overwrite";
        assert_eq!(of(&refusal, &app).as_deref(), Some(expected));
        let own = Refusal::AuthMethod { key: "a/b".to_owned() };
        assert_eq!(of(&own, &app).as_deref(), Some("kubectl annotate ingress -n shop web a/b-"));
        let taken = Refusal::IngressNameTaken { name: ObjectKey::new("shop", "web-outpost-path") };
        let expected = "kubectl get ingress -n shop web-outpost-path -o yaml";
        assert_eq!(of(&taken, &app).as_deref(), Some(expected));
        assert_eq!(of(&Refusal::NoHost, &app), None);
    }
}
