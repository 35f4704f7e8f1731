//! The outposts that apps can name, and which one an app gets.

use super::refusal::Refusal;
use super::request::Unresolved;
use super::waiting::Waiting;
use crate::config::{Address, Scheme, Settings};
use crate::facts::{DiscoveredOutpost, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// An outpost that an app may send its visitors to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outpost {
    /// Name by which apps ask for it.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// Outposts found in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    /// By the Service that stands for each.
    pub services: BTreeMap<ObjectKey, DiscoveredOutpost>,
    /// Whether the first list is complete. Until then an outpost that is missing may just not be known yet.
    pub complete: bool,
}

impl Discovered {
    /// The outpost of an app that asks for `asked`, or for none.
    ///
    /// Outposts given by `--outpost` come before discovered ones, by name and as the default: whoever can label a
    /// Service must not be able to take over apps that an admin assigned.
    pub fn resolve(&self, asked: Option<&str>, settings: &Settings) -> Result<Outpost, Unresolved> {
        match asked.or(settings.default_outpost.as_deref()) {
            Some(name) => self.named(name, settings),
            None => self.default(settings),
        }
    }

    /// The known outpost that listens at `host`, whatever the port.
    pub fn at_host(&self, host: &str, settings: &Settings) -> Option<String> {
        let configured = settings.outposts.iter().find(|(_, address)| address.host == host);
        let discovered = || self.services.values().find(|found| address(found, settings).host == host);
        configured.map(|(name, _)| name.clone()).or_else(|| discovered().map(|found| found.name.clone()))
    }

    fn named(&self, name: &str, settings: &Settings) -> Result<Outpost, Unresolved> {
        if let Some(address) = settings.outposts.get(name) {
            return Ok(Outpost { name: name.to_owned(), address: address.clone() });
        }
        let found: Vec<_> = self.services.values().filter(|found| found.name == name).collect();
        match found.as_slice() {
            [one] => Ok(outpost(one, settings)),
            [] if !self.complete => Err(Waiting::ForOutposts.into()),
            [] => Err(Unresolved::Refused(Refusal::UnknownOutpost {
                key: settings.keys.outpost.clone(),
                name: name.to_owned(),
                known: self.names(settings),
            })),
            several => {
                let services = several.iter().map(|found| found.key.to_string()).collect();
                Err(Unresolved::Refused(Refusal::AmbiguousOutpost { name: name.to_owned(), services }))
            }
        }
    }

    fn default(&self, settings: &Settings) -> Result<Outpost, Unresolved> {
        let key = || settings.keys.outpost.clone();
        let mut configured = settings.outposts.iter();
        if let Some((name, address)) = configured.next() {
            return match configured.next() {
                None => Ok(Outpost { name: name.clone(), address: address.clone() }),
                Some(_) => Err(Refusal::NoDefaultOutpost { key: key(), known: self.names(settings) }.into()),
            };
        }
        if !self.complete {
            return Err(Waiting::ForOutposts.into());
        }
        let mut standalone = self.services.values().filter(|found| !found.is_embedded());
        match (standalone.next(), standalone.next()) {
            (Some(only), None) => Ok(outpost(only, settings)),
            (Some(_), Some(_)) => {
                Err(Refusal::NoDefaultOutpost { key: key(), known: self.names(settings) }.into())
            }
            (None, _) => Err(match self.services.values().next() {
                Some(embedded) => Refusal::OnlyEmbeddedOutpost { service: embedded.key.clone(), key: key() },
                None => Refusal::NoOutpost,
            }
            .into()),
        }
    }

    fn names(&self, settings: &Settings) -> Vec<String> {
        let discovered = self.services.values().map(|found| found.name.clone());
        let all: BTreeSet<String> = settings.outposts.keys().cloned().chain(discovered).collect();
        all.into_iter().collect()
    }
}

fn outpost(found: &DiscoveredOutpost, settings: &Settings) -> Outpost {
    Outpost { name: found.name.clone(), address: address(found, settings) }
}

fn address(found: &DiscoveredOutpost, settings: &Settings) -> Address {
    Address {
        scheme: if found.https { Scheme::Https } else { Scheme::Http },
        host: settings.cluster_domain.service_host(&found.key.namespace, &found.key.name),
        port: found.port,
    }
}
