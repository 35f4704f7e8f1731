//! How everything stays as it is and becomes nobody's, for those who go on without the controller.

use super::changes::{Change, HandOver, Kind};
use super::decision::AppView;
use crate::contract::{Keys, MANAGED_BY};
use crate::facts::{AppFacts, Facts, Identity, IngressFacts, ObjectKey};

/// The requests after which neither the app's Ingress nor its route is this controller's; none if it is so already.
pub fn app(view: &AppView<'_>, keys: &Keys) -> Vec<Change> {
    let app = claims(view, keys);
    let route = view.outpost_ingress.ours();
    let route = route.map(|route| companion(Kind::Ingress, &route.key, &route.identity, keys));
    app.into_iter().chain(route).collect()
}

/// The request after which no annotation on the app's Ingress is this controller's any more; none if it is so already.
pub fn claims(view: &AppView<'_>, keys: &Keys) -> Option<Change> {
    view.ingress.and_then(|ingress| of_app(ingress, ingress.app()?, keys))
}

/// The same as [`app`] of a companion that apps share.
pub fn shared(kind: Kind, companion: &impl Facts, keys: &Keys) -> Change {
    self::companion(kind, companion.key(), companion.identity(), keys)
}

fn of_app(ingress: &IngressFacts, app: &AppFacts, keys: &Keys) -> Option<Change> {
    if app.owned.is_empty() && app.edited.is_empty() {
        return None;
    }
    let said = [&keys.status, &keys.message, &keys.headers_uid];
    let is_only_ours = |key: &&str| said.iter().any(|said| *said == *key);
    Some(Change::HandOver(HandOver {
        kind: Kind::Ingress,
        key: ingress.key.clone(),
        identity: ingress.identity.clone(),
        labels: Vec::new(),
        annotations: app.owned_alone().filter(is_only_ours).map(str::to_owned).collect(),
    }))
}

/// Of a route the annotations stay, since they are what the data plane goes by.
fn companion(kind: Kind, key: &ObjectKey, identity: &Identity, keys: &Keys) -> Change {
    Change::HandOver(HandOver {
        kind,
        key: key.clone(),
        identity: identity.clone(),
        labels: vec![MANAGED_BY.to_owned(), keys.outpost.clone()],
        annotations: Vec::new(),
    })
}
