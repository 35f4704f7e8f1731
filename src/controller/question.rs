//! A request to the API server whose answer the index learns from.

use super::SharedIndex;
use crate::facts::{Identity, ObjectKey};
use crate::index::{AnswerId, Index, Key, Source};
use kube::Resource;

/// Asked before the request is sent, so that an answer can be told from older news when it arrives.
pub(super) struct Question {
    index: SharedIndex,
    answer: AnswerId,
}

impl Question {
    /// About the object of `source` under `key`.
    pub(super) fn new(index: &SharedIndex, source: Source, key: &ObjectKey) -> Self {
        Self { index: index.clone(), answer: index.with(|index| index.await_answer(source, key)) }
    }

    /// Takes in the answer: `observe` puts `found` into the index, and says what that touches. `None` where the object may be gone
    /// since.
    pub(super) fn learn(
        &self,
        found: &impl Resource<DynamicType = ()>,
        observe: impl FnOnce(&mut Index) -> Vec<Key>,
    ) -> Option<Vec<Key>> {
        let identity = Identity::of(found.meta());
        self.index.with(|index| (!index.is_outdated(self.answer, &identity)).then(|| observe(index)))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.index.with(|index| index.forget_answer(self.answer));
    }
}
