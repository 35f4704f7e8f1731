//! One writer at a time for an object that several keys may write, and nobody who relies on one that is being deleted.

use super::write::Writer;
use crate::facts::ObjectKey;
use crate::index::{Index, Source};
use crate::plan::changes::Kind;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Held while an object is written.
pub(super) type ObjectLock = tokio::sync::Mutex<()>;

/// Locks of objects with writes under way. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<Locks>>);

type Locks = HashMap<(Kind, ObjectKey), Weak<ObjectLock>>;

/// Entries after which those that nobody holds are cleared away.
const CROWDED: usize = 1024;

impl InFlight {
    /// The lock of one object; only those who hold it keep it alive.
    pub(super) fn lock(&self, kind: Kind, key: &ObjectKey) -> Arc<ObjectLock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&(kind, key.clone())).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= CROWDED {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert((kind, key.clone()), Arc::downgrade(&lock));
        lock
    }
}

/// An object that is being deleted, for as long as it lives.
pub(super) struct Leaving<'a> {
    writer: &'a Writer,
    source: Source,
    key: &'a ObjectKey,
}

impl<'a> Leaving<'a> {
    /// Marks an object, if `is_due` says so. Nobody else may be writing to it: whoever needs it then makes it anew afterwards. Who
    /// may have waited for the end of this is told of it.
    pub(super) fn begin(
        writer: &'a Writer,
        source: Source,
        key: &'a ObjectKey,
        is_due: impl FnOnce(&Index) -> bool,
    ) -> Option<Self> {
        let has_begun = writer.index.with(|index| {
            let is_due = is_due(index);
            if is_due {
                index.leave(source, key);
            }
            is_due
        });
        // Not made where it has not begun: its end would be told.
        has_begun.then(|| Self { writer, source, key })
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.writer.tell(self.writer.index.with(|index| index.stay(self.source, self.key)));
    }
}
