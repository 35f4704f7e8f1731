//! What there is to say of one app, from its Ingress alone.

use crate::contract::Keys;
use crate::facts::{IngressFacts, OptIn};
use crate::plan::injected::{Check, Injected};
use crate::plan::status::State;
use crate::watched::WatchedIngress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Serialize, Serializer};

/// An app and what became of it. In JSON it has the names of these fields, which do not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// Namespace of the app's Ingress.
    pub(super) namespace: String,
    /// Name of the app's Ingress.
    pub(super) name: String,
    /// Name of the class that serves it.
    pub(super) class: Option<String>,
    /// Hosts of its rules; none where it serves every host.
    pub(super) hosts: Box<[String]>,
    /// The outpost that guards it, or should.
    pub(super) outpost: Outpost,
    /// How the outpost is asked, as the annotations stand.
    pub(super) route: Option<Check>,
    /// The controller's word for what became of it.
    pub(super) status: Option<String>,
    /// The controller's explanation, and what contradicts its word.
    pub(super) message: Option<String>,
    /// When the Ingress was made.
    pub(super) created: Option<Time>,
    /// Whether it is an app no more: only in what a watch prints last of it, and in JSON only then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) gone: bool,
}

/// The outpost of an app, as far as the Ingresses tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outpost {
    /// By its name.
    Named(String),
    /// The app asks for none by name, and nothing says yet which that is.
    Default,
    /// The app asks for none.
    Unknown,
}

impl Serialize for Outpost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Named(name) => serializer.serialize_some(name),
            Self::Default | Self::Unknown => serializer.serialize_none(),
        }
    }
}

/// How soon somebody should look at an app. Sorts first what is most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// It needs somebody: refused, failing, or said to be protected against the evidence.
    Trouble,
    /// It is on its way.
    Waiting,
    /// All is well.
    Fine,
}

impl Row {
    /// The row of the app in `ingress`; `None` where that asks for no protection and has none left.
    pub(super) fn of(
        WatchedIngress(ingress): &WatchedIngress,
        facts: &IngressFacts,
        keys: &Keys,
    ) -> Option<Self> {
        let annotation = |key: &str| ingress.metadata.annotations.as_ref()?.get(key).cloned();
        let (status, message) = (annotation(&keys.status), annotation(&keys.message));
        let asks = facts.app().is_some_and(|app| app.opt_in != OptIn::Off);
        if facts.outpost_ingress().is_some() || !(asks || status.is_some() || facts.is_protected(keys)) {
            return None;
        }
        let injected = Injected::of(facts);
        let doubt = doubt(asks, status.as_deref(), injected.as_ref());
        // What an app is told that asks no more is about what it asked for.
        let explanation: Vec<String> = message.filter(|_| asks).into_iter().chain(doubt).collect();
        Some(Self {
            namespace: facts.key.namespace.to_string(),
            name: facts.key.name.to_string(),
            class: facts.class.name().map(str::to_owned),
            hosts: facts.hosts.iter().map(ToString::to_string).collect(),
            outpost: outpost(annotation(&keys.outpost), injected.as_ref(), asks),
            route: injected.map(|injected| injected.check),
            status,
            message: (!explanation.is_empty()).then(|| explanation.join("; ")),
            created: ingress.metadata.creation_timestamp.clone(),
            gone: false,
        })
    }

    /// The row with the outpost that the app's route leads to, where an outpost is asked and nothing else names it.
    pub(super) fn with_route_to(mut self, outpost: Option<&str>) -> Self {
        let is_unnamed = self.route.is_some() && !matches!(self.outpost, Outpost::Named(_));
        if let Some(outpost) = outpost.filter(|_| is_unnamed) {
            self.outpost = Outpost::Named(outpost.to_owned());
        }
        self
    }

    /// The last row of an app that is one no more.
    pub(super) fn into_gone(self) -> Self {
        let message = "gone: its Ingress was deleted, or asks for no protection any more".to_owned();
        Self {
            outpost: Outpost::Unknown,
            route: None,
            status: None,
            message: Some(message),
            gone: true,
            ..self
        }
    }

    /// See [`Urgency`].
    pub(super) fn urgency(&self) -> Urgency {
        let status = self.status.as_deref();
        if status.is_none() || is(status, State::Pending) {
            Urgency::Waiting
        } else if is(status, State::Protected) && self.message.is_none() {
            Urgency::Fine
        } else {
            Urgency::Trouble
        }
    }
}

fn is(status: Option<&str>, state: State) -> bool {
    status.is_some_and(|status| status == state.to_string())
}

fn outpost(asked: Option<String>, injected: Option<&Injected<'_>>, asks: bool) -> Outpost {
    let named = asked.or_else(|| injected?.outpost.map(str::to_owned));
    match named {
        Some(name) => Outpost::Named(name),
        None if asks => Outpost::Default,
        None => Outpost::Unknown,
    }
}

/// What contradicts the status, or stands for it: nobody shall read that an app is protected that is not.
fn doubt(asks: bool, status: Option<&str>, injected: Option<&Injected<'_>>) -> Option<String> {
    let text = match injected {
        Some(_) if !asks => {
            "asks for no protection any more, and is still protected until the controller takes it away"
        }
        None if !asks => {
            "asks for no protection any more, and has none: the controller has yet to take its status away"
        }
        _ if status.is_none() => {
            "not looked at yet; if that stays so, check that the controller runs and watches this namespace"
        }
        _ if !is(status, State::Protected) => return None,
        None => {
            "not protected: no annotation of it has an outpost asked any more; check that the controller runs, which puts \
             them back"
        }
        Some(injected) if injected.altered.is_empty() => return None,
        Some(injected) => {
            return Some(format!(
                "protected in part at best: {} changed or gone; check that the controller runs, which puts it right",
                injected.altered.join(", ")
            ));
        }
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{MANAGER, ROUTER_MIDDLEWARES, middleware_name, middleware_reference};
    use ingress_sso_testbed::builders::managed;
    use serde_json::{Value, json};

    const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";
    const OPT_IN: &str = "sso.djieno.com/authentik";
    const STATUS: &str = "sso.djieno.com/status";
    const MESSAGE: &str = "sso.djieno.com/message";

    /// What the controller puts on an app of ingress-nginx.
    fn protected() -> Value {
        json!({
            OPT_IN: "true",
            STATUS: "Protected",
            AUTH_URL: "https://a.example.com/outpost.goauthentik.io/auth/nginx",
            "nginx.ingress.kubernetes.io/auth-signin": "x",
            "nginx.ingress.kubernetes.io/auth-response-headers": "x",
            "nginx.ingress.kubernetes.io/auth-proxy-set-headers": "x",
        })
    }

    /// The row of an app with these annotations, of which the controller wrote all but the opt-in.
    fn row(annotations: &Value) -> Option<Row> {
        let written = annotations.as_object()?.keys().filter(|key| **key != OPT_IN);
        let written: Vec<&str> = written.map(String::as_str).collect();
        let ingress: WatchedIngress = serde_json::from_value(json!({
            "metadata": {
                "namespace": "shop", "name": "app", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": annotations,
                "managedFields": [managed(MANAGER, "Apply", &written)],
            },
            "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.example.com" }] },
        }))
        .unwrap();
        let keys = Keys::default();
        Row::of(&ingress, &IngressFacts::extract(&ingress.0, &keys).unwrap(), &keys)
    }

    /// Its outpost, route, status and message.
    fn said(annotations: &Value) -> Option<[String; 4]> {
        let row = row(annotations)?;
        let route = row.route.map(|check| check.to_string());
        Some([
            format!("{:?}", row.outpost),
            route.unwrap_or_default(),
            row.status.unwrap_or_default(),
            row.message.unwrap_or_default(),
        ])
    }

    fn without(key: &str) -> Value {
        let mut annotations = protected();
        annotations.as_object_mut().unwrap().remove(key);
        annotations
    }

    #[test]
    fn a_protected_app_is_told_as_it_is() {
        let row = row(&protected()).unwrap();
        let wanted = json!({
            "namespace": "shop", "name": "app", "class": "nginx", "hosts": ["a.example.com"], "outpost": null,
            "route": "host", "status": "Protected", "message": null, "created": "2026-01-01T00:00:00Z",
        });
        assert_eq!(serde_json::to_value(&row).unwrap(), wanted);
        assert_eq!((&row.outpost, row.urgency()), (&Outpost::Default, Urgency::Fine));
        let routed = row.with_route_to(Some("proxy"));
        assert_eq!(routed.outpost, Outpost::Named("proxy".into()));
    }

    #[test]
    fn what_an_app_asks_for_comes_before_what_its_route_says() {
        let mut annotations = protected();
        annotations["sso.djieno.com/outpost"] = json!("mine");
        let row = row(&annotations).unwrap();
        assert_eq!(row.with_route_to(Some("other")).outpost, Outpost::Named("mine".into()));
    }

    #[test]
    fn a_route_that_nothing_leads_to_yet_guards_nothing() {
        let row = row(&json!({ OPT_IN: "true" })).unwrap();
        assert_eq!(row.with_route_to(Some("proxy")).outpost, Outpost::Default);
    }

    #[test]
    fn a_middleware_tells_route_and_outpost() {
        let reference = middleware_reference("shop", &middleware_name("shop", "proxy"), false);
        let annotations = json!({ OPT_IN: "true", STATUS: "Protected", ROUTER_MIDDLEWARES: reference });
        assert_eq!(said(&annotations).unwrap(), [r#"Named("proxy")"#, "middleware", "Protected", ""]);
    }

    #[test]
    fn the_controllers_explanation_is_passed_on() {
        let refused = json!({ OPT_IN: "yes", STATUS: "Refused", MESSAGE: "write \"true\"" });
        assert_eq!(said(&refused).unwrap(), ["Default", "", "Refused", "write \"true\""]);
        assert_eq!(row(&refused).unwrap().urgency(), Urgency::Trouble);
        let pending = json!({ OPT_IN: "true", STATUS: "Pending", MESSAGE: "waits" });
        assert_eq!(row(&pending).unwrap().urgency(), Urgency::Waiting);
    }

    #[test]
    fn one_that_the_controller_has_not_spoken_about_says_so() {
        let [outpost, route, status, message] = said(&json!({ OPT_IN: "true" })).unwrap();
        assert_eq!([outpost, route, status], ["Default", "", ""]);
        assert!(message.starts_with("not looked at yet;"), "{message}");
    }

    #[test]
    fn nobody_reads_that_an_app_is_protected_that_is_not() {
        let open = row(&without(AUTH_URL)).unwrap();
        assert_eq!(open.status.as_deref(), Some("Protected"));
        assert!(open.message.as_ref().unwrap().starts_with("not protected: "), "{open:?}");
        assert_eq!((open.route, open.urgency()), (None, Urgency::Trouble));

        let headers = "nginx.ingress.kubernetes.io/auth-response-headers";
        let altered = row(&without(headers)).unwrap();
        let wanted = format!("protected in part at best: {headers} changed or gone;");
        assert!(altered.message.as_ref().unwrap().starts_with(&wanted), "{altered:?}");
        assert_eq!((altered.route, altered.urgency()), (Some(Check::Host), Urgency::Trouble));
    }

    #[test]
    fn what_is_left_of_an_app_that_asks_no_more_is_shown() {
        let mut annotations = without(OPT_IN);
        annotations[MESSAGE] = json!("write \"true\"");
        let [outpost, route, status, message] = said(&annotations).unwrap();
        assert_eq!([outpost, route, status], ["Unknown", "host", "Protected"]);
        assert!(message.starts_with("asks for no protection any more, and is still protected"), "{message}");
        let [.., message] = said(&json!({ STATUS: "Protected" })).unwrap();
        assert!(message.contains("has none"), "{message}");
    }

    #[test]
    fn who_asks_for_nothing_has_no_row() {
        for annotations in [json!({}), json!({ OPT_IN: "false" })] {
            assert_eq!(row(&annotations), None, "{annotations}");
        }
    }
}
