//! The small cluster a case is about: what is in it, and what is decided there for one app.

use ingress_sso::config::Settings;
use ingress_sso::contract::MANAGER;
use ingress_sso::facts::{
    ConfigMapFacts, DiscoveredOutpost, Identity, IngressClassFacts, IngressFacts, MiddlewareFacts, ObjectKey,
    ServiceFacts,
};
use ingress_sso::index::{Index, Source};
use ingress_sso::middleware::Middleware;
use ingress_sso::plan::changes::{AppPlan, app_plan};
use ingress_sso::plan::status::Assurance;
use ingress_sso::plan::{AppView, Decision, decide};
use ingress_sso_testbed::builders::{IngressBuilder, ingress, ingress_class, managed};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

pub(crate) const OUTPOST_HOST: &str = "ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local";

/// Address of the outpost `proxy-outpost` in most cases.
pub(crate) const OUTPOST_URL: &str = "http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000";

/// When an Ingress of these tests was made unless it says otherwise, in seconds since 1970.
const CREATED: i64 = 1000;

/// A cluster, the controller's settings, and the app that the case is about: `n8n-prd/n8n` unless it says otherwise.
#[derive(Clone)]
pub(crate) struct World {
    settings: Settings,
    classes: Vec<IngressClass>,
    ingresses: Vec<Ingress>,
    services: Vec<Service>,
    config_maps: Vec<ConfigMap>,
    middlewares: Vec<Middleware>,
    outposts: Vec<Service>,
    not_listed: Option<Source>,
    events: Vec<fn(&mut Index)>,
    subject: ObjectKey,
    is_overdue: bool,
    assurance: Assurance,
}

impl World {
    /// The class `nginx`, served by ingress-nginx, and the outpost `proxy-outpost` by setting.
    pub(crate) fn new() -> Self {
        Self::without_outpost().settings(|settings| add_outpost(settings, "proxy-outpost", OUTPOST_URL))
    }

    /// The class `nginx`, served by ingress-nginx, and no outpost.
    pub(crate) fn without_outpost() -> Self {
        Self::without_class().class("nginx", "k8s.io/ingress-nginx")
    }

    /// Neither class nor outpost.
    pub(crate) fn without_class() -> Self {
        Self {
            settings: Settings::default(),
            classes: Vec::new(),
            ingresses: Vec::new(),
            services: Vec::new(),
            config_maps: Vec::new(),
            middlewares: Vec::new(),
            outposts: Vec::new(),
            not_listed: None,
            events: Vec::new(),
            subject: ObjectKey::new("n8n-prd", "n8n"),
            is_overdue: false,
            assurance: Assurance::NotAsked,
        }
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn class(self, name: &str, controller: &str) -> Self {
        self.class_object(ingress_class(name, controller))
    }

    pub(crate) fn class_object(mut self, class: IngressClass) -> Self {
        self.classes.push(class);
        self
    }

    /// One more Ingress, whoever made it.
    pub(crate) fn app(mut self, ingress: impl Into<Ingress>) -> Self {
        let mut ingress = ingress.into();
        admit(&mut ingress.metadata);
        self.ingresses.push(ingress);
        self
    }

    /// One more Service in an app's namespace.
    pub(crate) fn service(mut self, mut service: Service) -> Self {
        admit(&mut service.metadata);
        self.services.push(service);
        self
    }

    /// One more `ConfigMap`.
    pub(crate) fn config_map(mut self, mut config_map: ConfigMap) -> Self {
        admit(&mut config_map.metadata);
        self.config_maps.push(config_map);
        self
    }

    /// One more Middleware, whoever made it.
    pub(crate) fn middleware(mut self, mut middleware: Middleware) -> Self {
        admit(&mut middleware.metadata);
        self.middlewares.push(middleware);
        self
    }

    /// One more Service with the labels of an authentik outpost.
    pub(crate) fn outpost(mut self, mut service: Service) -> Self {
        admit(&mut service.metadata);
        self.outposts.push(service);
        self
    }

    /// The first list of `source` has not been delivered yet.
    pub(crate) fn before_list_of(mut self, source: Source) -> Self {
        self.not_listed = Some(source);
        self
    }

    /// Something that happens after all of this has been seen.
    pub(crate) fn then(mut self, event: fn(&mut Index)) -> Self {
        self.events.push(event);
        self
    }

    /// The app has been waiting for longer than is normal.
    pub(crate) fn overdue(mut self) -> Self {
        self.is_overdue = true;
        self
    }

    /// This is known of whether the outpost serves the app.
    pub(crate) fn assured(mut self, assurance: Assurance) -> Self {
        self.assurance = assurance;
        self
    }

    /// What is asked is the fate of this app.
    pub(crate) fn about(mut self, namespace: &str, name: &str) -> Self {
        self.subject = ObjectKey::new(namespace, name);
        self
    }

    /// The Ingress of the app that the case is about.
    pub(crate) fn subject(&self) -> Option<&Ingress> {
        self.ingresses.iter().find(|ingress| ObjectKey::of(&ingress.metadata) == self.subject)
    }

    /// What becomes of the app, and the requests that carry it out.
    pub(crate) fn decide(&self) -> (Decision, AppPlan) {
        let index = self.index();
        let view = AppView { assurance: self.assurance.clone(), ..index.view(&self.subject) };
        let decision = decide(&view, &self.settings);
        let plan = app_plan(&view, &decision, &self.settings.keys, self.is_overdue);
        (decision, plan)
    }

    fn index(&self) -> Index {
        let keys = &self.settings.keys;
        let mut index = Index::new(Arc::new(self.settings.clone()));
        for class in &self.classes {
            index.observe_class(IngressClassFacts::extract(class));
        }
        for outpost in &self.outposts {
            index.observe_outpost(DiscoveredOutpost::extract(outpost).expect("an outpost"));
        }
        for service in &self.services {
            index.observe_service(ServiceFacts::extract(service, keys));
        }
        for config_map in &self.config_maps {
            index.observe_headers(ConfigMapFacts::extract(config_map));
        }
        for middleware in &self.middlewares {
            index.observe_middleware(MiddlewareFacts::extract(middleware, keys));
        }
        for ingress in &self.ingresses {
            index.observe_ingress(IngressFacts::extract(ingress, keys).expect("an Ingress with a name"));
        }
        for source in Source::ALL {
            if self.not_listed != Some(source) {
                index.complete(source);
            }
        }
        for event in &self.events {
            event(&mut index);
        }
        index
    }
}

/// An outpost given by `--outpost`.
pub(crate) fn add_outpost(settings: &mut Settings, name: &str, url: &str) {
    let address = url.parse().expect("the URL of an outpost");
    settings.outposts.insert(name.to_owned(), address);
}

/// The index sees `ingress`, in a new version.
pub(crate) fn see_again(index: &mut Index, mut ingress: Ingress) {
    admit(&mut ingress.metadata);
    ingress.metadata.resource_version = Some("2".to_owned());
    let keys = index.settings().keys.clone();
    index.observe_ingress(IngressFacts::extract(&ingress, &keys).expect("an Ingress with a name"));
}

/// The index sees that `config_map` goes, in the version in which all is seen at first.
pub(crate) fn lose(index: &mut Index, mut config_map: ConfigMap) {
    admit(&mut config_map.metadata);
    let gone = Identity::of(&config_map.metadata);
    index.forget(Source::ConfigMaps, &ObjectKey::of(&config_map.metadata), Some(&gone));
}

/// Sets what the API server sets on every object.
fn admit(metadata: &mut ObjectMeta) {
    let uid = format!("uid-of-{}", metadata.name.as_deref().unwrap_or_default());
    metadata.uid.get_or_insert(uid);
    metadata.resource_version.get_or_insert_with(|| "1".to_owned());
    metadata.creation_timestamp.get_or_insert(Time(Timestamp::constant(CREATED, 0)));
}

/// The Ingress of the app that most cases are about, asking for protection.
pub(crate) fn app() -> IngressBuilder {
    other_app("n8n-prd", "n8n")
}

/// Another app on the same host, asking for protection.
pub(crate) fn other_app(namespace: &str, name: &str) -> IngressBuilder {
    app_on(namespace, name, ["app.djieno.com"])
}

/// An app on these hosts, asking for protection.
pub(crate) fn app_on<const N: usize>(namespace: &str, name: &str, hosts: [&str; N]) -> IngressBuilder {
    ingress(namespace, name).hosts(hosts).sso("authentik", "true")
}

/// The outpost Ingress that the controller makes for the app `app` on `hosts`.
pub(crate) fn our_route<const N: usize>(namespace: &str, app: &str, hosts: [&str; N]) -> IngressBuilder {
    route(namespace, &format!("{app}-outpost-path"), hosts)
        .label("app.kubernetes.io/managed-by", "ingress-sso")
        .label("app.kubernetes.io/part-of", "authentik")
        .label("sso.djieno.com/outpost", "proxy-outpost")
        .sso("app", app)
        .nginx("custom-http-errors", "418")
        .nginx("enable-global-auth", "false")
        .nginx("proxy-buffer-size", "16k")
        .nginx("proxy-busy-buffers-size", "16k")
        .annotation("external-dns.kubernetes.io/controller", "ignore")
        .annotation("external-dns.alpha.kubernetes.io/controller", "ignore")
}

/// An Ingress made by hand that routes the outpost path of `hosts` to a Service of the name that ours would have.
pub(crate) fn route<const N: usize>(namespace: &str, name: &str, hosts: [&str; N]) -> IngressBuilder {
    ingress(namespace, name)
        .hosts(hosts)
        .path("/outpost.goauthentik.io", "ImplementationSpecific")
        .backend("authentik-proxy-outpost", 9000)
}

/// `ingress` as server-side apply by this controller leaves it: with these annotations, and the note that they are ours.
pub(crate) fn applied(ingress: impl Into<Ingress>, annotations: &[(&str, &str)]) -> Ingress {
    let mut ingress = ingress.into();
    let all = ingress.metadata.annotations.get_or_insert_default();
    all.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let owned: Vec<&str> = annotations.iter().map(|(key, _)| *key).collect();
    ingress.metadata.managed_fields = Some(vec![managed(MANAGER, "Apply", &owned)]);
    ingress
}

/// `ingress` as a merge patch by this controller leaves it: with this annotation, which it edited in place.
pub(crate) fn edited(mut ingress: Ingress, key: &str, value: &str) -> Ingress {
    ingress.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    ingress.metadata.managed_fields.get_or_insert_default().push(managed(MANAGER, "Update", &[key]));
    ingress
}

/// Annotations by the last part of their key.
pub(crate) trait Annotated {
    /// An annotation under the project's own prefix.
    fn sso(self, name: &str, value: &str) -> Self;

    /// An annotation of ingress-nginx.
    fn nginx(self, name: &str, value: &str) -> Self;

    /// An annotation of Traefik.
    fn traefik(self, name: &str, value: &str) -> Self;
}

impl Annotated for IngressBuilder {
    fn sso(self, name: &str, value: &str) -> Self {
        self.annotation(&format!("sso.djieno.com/{name}"), value)
    }

    fn nginx(self, name: &str, value: &str) -> Self {
        self.annotation(&format!("nginx.ingress.kubernetes.io/{name}"), value)
    }

    fn traefik(self, name: &str, value: &str) -> Self {
        self.annotation(&format!("traefik.ingress.kubernetes.io/{name}"), value)
    }
}
