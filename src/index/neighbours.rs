//! What else the data plane of an app serves at the app's hosts.
//!
//! An `IngressClass` names an ingress controller, and one controller can serve several classes, and Ingresses without any. So
//! whatever may be served together with an app counts, of whichever class it is.

use super::Index;
use super::claims::{Entry, Place};
use super::small_set::SmallSet;
use crate::facts::{ClassRef, Host, IngressFacts, ObjectKey};
use crate::plan::Dialect;
use crate::plan::request::Request;

/// Ingresses named in one warning; a host with hundreds needs no longer text.
const MAX_NAMED: usize = 3;

impl Index {
    /// Whether one data plane may serve both `class` and `other`. An `IngressClass` tells who serves it. An annotation that names none
    /// means whoever was told its name, and of an Ingress without a class some data planes take it for theirs:
    /// <https://kubernetes.github.io/ingress-nginx/user-guide/multiple-ingress/>,
    /// <https://doc.traefik.io/traefik/reference/install-configuration/providers/kubernetes/kubernetes-ingress/>.
    fn may_share_data_plane(&self, class: Option<&str>, other: &ClassRef) -> bool {
        let (Some(class), Some(name)) = (class, other.name()) else { return true };
        if class == name {
            return true;
        }
        let known = |name: &str| self.known.classes.known.get(&ObjectKey::new("", name));
        let Some(theirs) = known(name) else { return matches!(other, ClassRef::Annotation(_)) };
        if known(class).is_some_and(|ours| ours.controller == theirs.controller) {
            return true;
        }
        let is_traefiks = |name: &str| self.dialect_of(&ObjectKey::new("", name)).map(Dialect::is_of_traefik);
        match (is_traefiks(class), is_traefiks(name)) {
            // By all its providers.
            (Some(true), Some(true)) => true,
            // Of one controller, and of which a class is that --class alone names, nobody knows.
            (Some(false), Some(false)) => known(class).is_none(),
            _ => false,
        }
    }

    /// The Ingresses in one set of each entry at the host of `place` that may be served together with it.
    pub(super) fn beside<'a>(
        &'a self,
        place: &'a Place,
        set: fn(&Entry) -> &SmallSet<ObjectKey>,
    ) -> impl Iterator<Item = &'a IngressFacts> {
        self.served_with(place, self.claims.at_host(&place.host).flat_map(set))
    }

    fn served_with<'a>(
        &'a self,
        place: &'a Place,
        ingresses: impl Iterator<Item = &'a ObjectKey>,
    ) -> impl Iterator<Item = &'a IngressFacts> {
        ingresses
            .filter_map(|key| self.ingresses.get(key).map(Box::as_ref))
            .filter(|ingress| self.may_share_data_plane(place.class.as_deref(), &ingress.class))
    }

    /// All other Ingresses on the hosts of `app` that do not ask for protection, of which [`Index::view`] has a few.
    pub fn open_neighbours(&self, app: &ObjectKey) -> impl Iterator<Item = (Host, ObjectKey)> {
        self.claims.sought_by(app).iter().flat_map(|place| self.bystanders(place, false))
    }

    /// A few of them for each host.
    pub(super) fn some_open_neighbours(&self, app: &ObjectKey) -> Vec<(Host, ObjectKey)> {
        let at = |place| self.bystanders(place, false).take(MAX_NAMED);
        self.claims.sought_by(app).iter().flat_map(at).collect()
    }

    /// Canaries of other namespaces, a few for each host of `app`. Within one everybody may send visitors where he likes.
    pub(super) fn some_canaries_of_others(&self, app: &ObjectKey) -> Vec<(Host, ObjectKey)> {
        let at = |place| {
            let canaries = self.bystanders(place, true);
            canaries.filter(|(_, canary)| canary.namespace != app.namespace).take(MAX_NAMED)
        };
        self.claims.sought_by(app).iter().flat_map(at).collect()
    }

    /// Ingresses at `place` that do not ask for protection, either the canaries or all others. Traefik by its own annotations
    /// knows no canaries.
    fn bystanders<'a>(
        &'a self,
        place: &'a Place,
        is_canary: bool,
    ) -> impl Iterator<Item = (Host, ObjectKey)> + 'a {
        let class = place.class.as_ref().map(|class| ObjectKey::new("", class.clone()));
        let knows_canaries = class.and_then(|class| self.dialect_of(&class)) != Some(Dialect::Traefik);
        self.served_with(place, self.claims.bystanders(&place.host))
            .filter(move |ingress| (ingress.is_canary && knows_canaries) == is_canary)
            .map(|ingress| (place.host.clone(), ingress.key.clone()))
    }

    /// Other Ingresses that have TLS of the app's hosts passed through, a few for each host.
    pub(super) fn tls_passed_by(&self, app: &ObjectKey, request: &Request) -> Vec<(Host, ObjectKey)> {
        let places = self.claims.sought_by(app).iter().filter(|_| request.fears_tls_passthrough());
        let at = |place| {
            let passing = self.beside(place, |entry| &entry.passing_tls);
            let others = passing.filter(|ingress| ingress.key != *app).take(MAX_NAMED);
            others.map(|ingress| (place.host.clone(), ingress.key.clone()))
        };
        places.flat_map(at).collect()
    }

    /// The regular expression of another Ingress that takes the outpost path of one of the app's hosts.
    pub(super) fn swallowed_anywhere(
        &self,
        app: &ObjectKey,
        request: &Request,
    ) -> Option<(ObjectKey, Option<Host>, String)> {
        let mut places = self.claims.sought_by(app).iter().filter(|_| request.fears_long_regex());
        places.find_map(|place| self.swallowed_by(app, place))
    }

    fn swallowed_by(&self, app: &ObjectKey, place: &Place) -> Option<(ObjectKey, Option<Host>, String)> {
        let mut swallowers = self.beside(place, |entry| &entry.swallowers);
        let ingress = swallowers.find(|ingress| ingress.key != *app)?;
        let at_place = |(host, _): &&(Option<Host>, String)| host.as_ref() == Some(&place.host);
        let (host, path) = ingress.swallowing_paths.iter().find(at_place)?;
        Some((ingress.key.clone(), host.clone(), path.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::contract::{OUTPOST_PATH, OUTPOST_PATH_TYPE};
    use crate::index::{Key, Source};
    use ingress_sso_testbed::builders::{IngressBuilder, ingress};
    use std::sync::Arc;

    /// Of most of it an app is only warned, which shows in no plan.
    #[test]
    fn an_app_is_looked_at_when_something_of_another_class_comes_to_its_host_and_when_it_goes() {
        let mut settings = Settings::default();
        settings.classes.insert("nginx".to_owned(), Dialect::Nginx);
        settings.outposts.insert("main".to_owned(), "http://main.example.com:9000".parse().unwrap());
        let mut index = Index::new(Arc::new(settings));
        let mut observe = |ingress: IngressBuilder| {
            let facts = index.read(&ingress.build()).unwrap();
            let key = facts.key.clone();
            let coming = index.observe_ingress(facts);
            (coming, (key.name != "app".into()).then(|| index.forget(Source::Ingresses, &key, None)))
        };
        let at_host = |namespace, name| ingress(namespace, name).host("a.example.com");
        let app = Key::App(ObjectKey::new("shop", "app"));
        observe(at_host("shop", "app").annotation("sso.djieno.com/authentik", "true"));
        let nginx = |ingress: IngressBuilder, name: &str, value: &str| {
            ingress.annotation(&format!("nginx.ingress.kubernetes.io/{name}"), value)
        };
        let other = || at_host("other", "site").no_class();
        for (what, ingress) in [
            ("a bystander", other()),
            ("a canary", nginx(other(), "canary", "true")),
            ("TLS passed through", nginx(other(), "ssl-passthrough", "true")),
            ("a route", other().path(OUTPOST_PATH, OUTPOST_PATH_TYPE)),
            ("a regular expression", other().path("/(outpost|login|logout).*", OUTPOST_PATH_TYPE)),
        ] {
            let (coming, going) = observe(ingress);
            assert!(coming.contains(&app), "{what} comes: {coming:?}");
            assert!(going.is_some_and(|keys| keys.contains(&app)), "{what} goes");
        }
    }
}
