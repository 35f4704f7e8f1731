//! What tells one state from another. Versions and uids are numbers that grow: two states are the same where only the numbers
//! differ, and not their order.

use super::super::cluster::{self, Cluster};
use super::super::user_action::app_key;
use super::run::Run;
use super::{KINDS, State, key_of, number, version_of};
use ingress_sso::facts::Identity;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Versions begin with this one, which is told from everything else in a text by its digits.
pub(super) const FIRST_VERSION: u64 = 7_000_000_000;

const DIGITS: usize = 10;
const UID: &str = "00000000-0000-4000-8000-";
const UID_DIGITS: usize = 12;

/// That of a text: what it is without its versions and uids, and these.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    text: u64,
    numbers: Vec<u64>,
}

impl Fingerprint {
    pub(super) fn of(text: &str) -> Self {
        let (mut hasher, mut numbers) = (DefaultHasher::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let (number, length) = number_at(rest).unwrap_or((0, 0));
            if length > 0 {
                hasher.write_u8(0xff);
                numbers.push(number);
                rest = &rest[length..];
            } else {
                // Up to where the next number can begin.
                let end = rest[1..].find(['7', '0']).map_or(rest.len(), |end| end + 1);
                hasher.write(&rest.as_bytes()[..end]);
                rest = &rest[end..];
            }
        }
        Self { text: hasher.finish(), numbers }
    }
}

/// The version or uid at the start of `text`, and its length.
fn number_at(text: &str) -> Option<(u64, usize)> {
    if let Some(uid) = text.strip_prefix(UID) {
        let number = u64::from_str_radix(uid.get(..UID_DIGITS)?, 16).ok()?;
        return Some((number, UID.len() + UID_DIGITS));
    }
    let number: u64 = text.get(..DIGITS)?.parse().ok()?;
    (FIRST_VERSION..FIRST_VERSION + 100_000).contains(&number).then_some((number, DIGITS))
}

/// Gathers what a state consists of.
#[derive(Default)]
struct Fingerprinter {
    hasher: DefaultHasher,
    numbers: Vec<u64>,
}

impl Fingerprinter {
    fn add(&mut self, part: impl Hash) {
        part.hash(&mut self.hasher);
    }

    fn add_fingerprint(&mut self, fingerprint: &Fingerprint) {
        fingerprint.text.hash(&mut self.hasher);
        self.numbers.extend(&fingerprint.numbers);
    }

    fn add_number(&mut self, number: Option<u64>) {
        number.is_some().hash(&mut self.hasher);
        self.numbers.extend(number);
    }

    fn finish(mut self) -> u64 {
        let mut order = self.numbers.clone();
        order.sort_unstable();
        order.dedup();
        for number in self.numbers {
            order.binary_search(&number).hash(&mut self.hasher);
        }
        self.hasher.finish()
    }
}

impl State {
    fn fingerprint(&self) -> u64 {
        let mut all = Fingerprinter::default();
        all.add((&self.apps, self.user_actions_left, self.crashes_left, &self.wrong));
        let Cluster { ingresses, services, config_maps, .. } = self.cluster.as_ref();
        let ingresses = ingresses.values().map(|object| &object.metadata);
        let services = services.values().map(|object| &object.metadata);
        let config_maps = config_maps.values().map(|object| &object.metadata);
        // Their keys are in the texts.
        for metadata in ingresses.chain(services).chain(config_maps) {
            self.add_version(&mut all, number(metadata));
        }
        for (kind, events) in &self.watches {
            all.add((kind, events.len()));
            for event in events {
                self.add_event(&mut all, event);
            }
        }
        for (_, source) in KINDS {
            let keys = self.index.keys_of(source, None);
            all.add(&keys);
            for key in keys {
                let version = self.index.identity(source, &key).and_then(Identity::version);
                self.add_version(&mut all, version);
            }
        }
        for slot in 0..self.apps.len() {
            let view = self.index.view(&app_key(slot));
            all.add((view.is_denied, view.headers_were_missed));
        }
        all.add((&self.queue, &self.failed));
        for Run { key, changes, stages, is_confirmed, known, heirs, makes_room } in &self.runs {
            all.add((key, is_confirmed, makes_room, changes.len(), stages.len()));
            for (_, fingerprint) in changes {
                all.add_fingerprint(fingerprint);
            }
            for (_, fingerprint) in stages {
                all.add_fingerprint(fingerprint);
            }
            for version in known.values().chain(heirs.values()) {
                all.add_number(Some(*version));
            }
        }
        all.finish()
    }

    fn add_event(&self, all: &mut Fingerprinter, event: &cluster::Event) {
        all.add(key_of(event));
        if let cluster::Event::Gone(_, _, uid) = event {
            all.add_fingerprint(&Fingerprint::of(uid));
        }
        self.add_version(all, version_of(event));
    }

    fn add_version(&self, all: &mut Fingerprinter, version: Option<u64>) {
        all.add_number(version);
        if let Some(fingerprint) = version.and_then(|version| self.fingerprints.get(&version)) {
            all.add_fingerprint(fingerprint);
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.fingerprint().hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}
