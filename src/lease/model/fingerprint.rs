//! What tells one state from another. It is the same for states after which the same can happen: times are relative, versions
//! count only as far as they are the same or not, and one replica is as good as another.

use super::super::{LAST_WRITES, TIMEOUT};
use super::{Answer, CLAIM, Doing, NAMES, Question, Replica, Request, Second, State, at};
use k8s_openapi::api::coordination::v1::Lease;
use std::hash::{DefaultHasher, Hash, Hasher};

impl State {
    fn fingerprint(&self) -> (u8, [Option<Second>; 2], Option<u64>) {
        let longest = (CLAIM + LAST_WRITES).as_secs();
        let age = |when: Option<Second>| when.map(|when| self.now - when).filter(|age| *age < longest);
        let meddled = [age(self.meddled), age(self.moved)];
        let orders = permutations(self.replicas.len());
        (self.mishaps, meddled, orders.iter().map(|order| of(self, order)).min())
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

fn permutations(length: usize) -> Vec<Vec<usize>> {
    match length {
        0 => vec![Vec::new()],
        _ => permutations(length - 1)
            .into_iter()
            .flat_map(|shorter| {
                (0..length).map(move |place| {
                    let mut longer = shorter.clone();
                    longer.insert(place, length - 1);
                    longer
                })
            })
            .collect(),
    }
}

/// What decides about what can happen to `replicas`, in this order.
pub(super) fn of(state: &State, replicas: &[usize]) -> u64 {
    let mut glossary = Glossary { replicas, versions: Vec::new() };
    let hasher = &mut DefaultHasher::new();
    state.lease.as_ref().map(|lease| glossary.lease(lease)).hash(hasher);
    for replica in replicas {
        let Replica { candidate, doing, is_stopped, held_until } = &state.replicas[*replica];
        let busy = held_until.map(|end| (end + LAST_WRITES.as_secs()).saturating_sub(state.now));
        (is_stopped, busy.filter(|left| *left > 0)).hash(hasher);
        std::mem::discriminant(doing).hash(hasher);
        match doing {
            Doing::Nothing => continue,
            Doing::Waiting(until) => (until + state.slack).saturating_sub(state.now).hash(hasher),
            Doing::Asking(Question { start, sent, purpose, request, is_stuck, answer }) => {
                // How old the round is matters as long as it can win the claim.
                let age = (state.now - start).min(CLAIM.as_secs());
                let left = (sent + TIMEOUT.as_secs()).saturating_sub(state.now);
                (age, left, purpose, is_stuck).hash(hasher);
                let answered = answer.as_ref().map(|answer| match answer {
                    Answer::Found(lease) => (0, lease.as_ref().map(|lease| glossary.lease(lease))),
                    Answer::Written(lease) => (1, Some(glossary.lease(lease))),
                    Answer::Missed => (2, None),
                });
                answered.hash(hasher);
                if answer.is_none() {
                    glossary.request(request).hash(hasher);
                }
            }
        }
        let outlook = candidate.outlook(at(state.now));
        (outlook.left, outlook.lease.map(|lease| glossary.lease(lease))).hash(hasher);
        let seen = outlook.seen.map(|(holder, version, age, lifetime)| {
            (glossary.name(Some(holder)), glossary.version(version), age, lifetime)
        });
        seen.hash(hasher);
    }
    state.late.iter().map(|request| glossary.request(request)).collect::<Vec<_>>().hash(hasher);
    hasher.finish()
}

/// Short for what is the same whatever it is called.
struct Glossary<'a> {
    replicas: &'a [usize],
    versions: Vec<u32>,
}

/// Version, holder and lifetime.
type LeaseInShort = (Option<usize>, Option<usize>, Option<i32>);

impl Glossary<'_> {
    fn lease(&mut self, lease: &Lease) -> LeaseInShort {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        let version = self.version(lease.metadata.resource_version.as_deref());
        (version, self.name(holder), spec.and_then(|spec| spec.lease_duration_seconds))
    }

    fn request(&mut self, request: &Request) -> Option<(bool, LeaseInShort)> {
        match request {
            Request::Get => None,
            Request::Create(lease) => Some((true, self.lease(lease))),
            Request::Replace(lease) => Some((false, self.lease(lease))),
        }
    }

    /// The place of a replica; those who are none are all the same.
    fn name(&self, name: Option<&str>) -> Option<usize> {
        let place = |name| self.replicas.iter().position(|replica| NAMES[*replica] == name);
        name.map(|name| place(name).unwrap_or(NAMES.len()))
    }

    fn version(&mut self, version: Option<&str>) -> Option<usize> {
        let version: u32 = version?.parse().ok()?;
        let known = self.versions.iter().position(|known| *known == version);
        Some(known.unwrap_or_else(|| {
            self.versions.push(version);
            self.versions.len() - 1
        }))
    }
}
