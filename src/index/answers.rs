//! Answers that are on their way. Each shows an object as it was when the API server wrote or read it; by the time it arrives, a
//! watch may have told already that the object is gone, and it does not tell so twice.

use super::{Index, Source};
use crate::facts::{Identity, ObjectKey};
use std::collections::{BTreeMap, HashSet};

/// Stands for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerId(u64);

/// All that are on their way. There are as many as requests, which are few.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    next: u64,
    awaited: BTreeMap<AnswerId, Awaited>,
}

/// What happened to an object since it was asked for.
#[derive(Clone, Debug)]
struct Awaited {
    source: Source,
    key: ObjectKey,
    /// Lives of the object that ended.
    ended: Vec<Identity>,
    /// Whether a list was without it. Whether that is of before the answer or of after it, nobody knows.
    is_unlisted: bool,
}

impl Answers {
    /// Takes note that an object is gone; without `gone`, for whatever reason it is taken for gone.
    pub(super) fn note_gone(&mut self, source: Source, key: &ObjectKey, gone: Option<&Identity>) {
        let concerned = |awaited: &&mut Awaited| awaited.source == source && awaited.key == *key;
        for awaited in self.awaited.values_mut().filter(concerned) {
            match gone {
                Some(identity) => awaited.ended.push(identity.clone()),
                None => awaited.is_unlisted = true,
            }
        }
    }

    fn keys_of(&self, source: Source, namespace: Option<&str>) -> Vec<ObjectKey> {
        let all = self.awaited.values().filter(|awaited| awaited.source == source);
        let keys = all.map(|awaited| &awaited.key);
        keys.filter(|key| namespace.is_none_or(|namespace| *key.namespace == *namespace)).cloned().collect()
    }
}

impl Index {
    /// Notes that an object is asked for, whose answer is to be learnt from.
    pub fn await_answer(&mut self, source: Source, key: &ObjectKey) -> AnswerId {
        let id = AnswerId(self.answers.next);
        self.answers.next += 1;
        let awaited = Awaited { source, key: key.clone(), ended: Vec::new(), is_unlisted: false };
        self.answers.awaited.insert(id, awaited);
        id
    }

    /// Notes that this answer is not to be learnt from any more.
    pub fn forget_answer(&mut self, answer: AnswerId) {
        self.answers.awaited.remove(&answer);
    }

    /// Whether the object that an answer shows as `found` may be gone since.
    pub fn is_outdated(&self, answer: AnswerId, found: &Identity) -> bool {
        self.answers.awaited.get(&answer).is_none_or(|awaited| {
            awaited.is_unlisted || awaited.ended.iter().any(|ended| ended.is_same_life(found))
        })
    }

    /// The objects of `source` in `namespace`, or everywhere, that a list was without: those that are known, and those that are
    /// asked for.
    pub fn unlisted(
        &self,
        source: Source,
        namespace: Option<&str>,
        listed: &HashSet<ObjectKey>,
    ) -> Vec<ObjectKey> {
        let mut unlisted = self.keys_of(source, namespace);
        unlisted.extend(self.answers.keys_of(source, namespace));
        unlisted.retain(|key| !listed.contains(key));
        unlisted
    }
}
