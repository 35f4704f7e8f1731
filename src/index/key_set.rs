//! A small set of keys.

use crate::facts::ObjectKey;

/// Keys in order. Most such sets hold one key, for which a tree would take the room of eleven; thousands there are only
/// where thousands of Ingresses serve one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeySet(Vec<ObjectKey>);

impl KeySet {
    pub(super) fn insert(&mut self, key: ObjectKey) {
        if let Err(position) = self.0.binary_search(&key) {
            if self.0.len() == self.0.capacity() {
                self.0.reserve_exact(self.0.len().max(1));
            }
            self.0.insert(position, key);
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        if let Ok(position) = self.0.binary_search(key) {
            self.0.remove(position);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, ObjectKey> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a KeySet {
    type Item = &'a ObjectKey;
    type IntoIter = std::slice::Iter<'a, ObjectKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_there_once_and_in_order() {
        let key = |name: &str| ObjectKey::new("n", name);
        let mut set = KeySet::default();
        for name in ["c", "a", "b", "a"] {
            set.insert(key(name));
        }
        set.remove(&key("x"));
        set.remove(&key("b"));
        assert_eq!(set.iter().map(|key| &*key.name).collect::<Vec<_>>(), ["a", "c"]);
        set.remove(&key("a"));
        set.remove(&key("c"));
        assert!(set.is_empty());
    }
}
