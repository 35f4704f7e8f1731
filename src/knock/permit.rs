//! At which doors may be knocked.

use crate::contract::Keys;
use crate::facts::{Host, IngressFacts, ObjectKey, OptIn, Role};
use thiserror::Error;

/// Why a host is not knocked at.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum NoDoor {
    #[error(
        "{host} is the host of no Ingress that you may read, and only doors of your own are knocked at. Check the spelling and \
         the namespace"
    )]
    Unknown { host: Host },

    #[error(
        "{host} is the host of Ingress {ingress}, which does not ask for protection, so there is no login to expect. Put the \
         annotation {key}: \"true\" on it"
    )]
    NotOptedIn { host: Host, ingress: ObjectKey, key: String },
}

/// The Ingress for whose sake `host` may be knocked at, among those that the caller was able to read: one that asks for
/// protection. As in ingress controllers, a wildcard stands for a host only where no Ingress names that host itself.
pub fn may_knock<'a>(
    ingresses: &'a [IngressFacts],
    host: &Host,
    keys: &Keys,
) -> Result<&'a ObjectKey, NoDoor> {
    let wildcard = host.as_str().split_once('.').and_then(|(_, domain)| Host::parse(&format!("*.{domain}")));
    let serving = |host: &Host| -> Vec<&IngressFacts> {
        ingresses.iter().filter(|ingress| !ingress.deleting && ingress.hosts.contains(host)).collect()
    };
    let mut found = serving(host);
    if found.is_empty() {
        found = wildcard.as_ref().map(serving).unwrap_or_default();
    }
    match found.iter().find(|ingress| asks_for_protection(ingress)).or(found.first()) {
        None => Err(NoDoor::Unknown { host: host.clone() }),
        Some(ingress) if asks_for_protection(ingress) => Ok(&ingress.key),
        Some(ingress) => {
            let (host, ingress, key) = (host.clone(), ingress.key.clone(), keys.opt_in.clone());
            Err(NoDoor::NotOptedIn { host, ingress, key })
        }
    }
}

fn asks_for_protection(ingress: &IngressFacts) -> bool {
    matches!(&ingress.role, Role::App(app) if app.opt_in == OptIn::On)
}
