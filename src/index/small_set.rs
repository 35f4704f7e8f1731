//! A small set in order.

use std::borrow::Borrow;

/// Members in order. Most such sets have one, for which a tree would take the room of eleven; thousands there are only
/// where thousands of Ingresses serve one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SmallSet<T>(Vec<T>);

impl<T: Ord> SmallSet<T> {
    pub(super) fn insert(&mut self, member: T) {
        if let Err(position) = self.0.binary_search(&member) {
            if self.0.len() == self.0.capacity() {
                self.0.reserve_exact(self.0.len().max(1));
            }
            self.0.insert(position, member);
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, member: &Q)
    where
        T: Borrow<Q>,
    {
        if let Ok(position) = self.0.binary_search_by(|other| other.borrow().cmp(member)) {
            self.0.remove(position);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.0
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The members that come before `limit`.
    pub(super) fn before(&self, limit: &T) -> &[T] {
        let end = self.0.partition_point(|member| member < limit);
        self.0.get(..end).unwrap_or_default()
    }

    /// The members that come after `limit`.
    pub(super) fn after(&self, limit: &T) -> &[T] {
        let start = self.0.partition_point(|member| member <= limit);
        self.0.get(start..).unwrap_or_default()
    }
}

impl<T> Default for SmallSet<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> IntoIterator for &'a SmallSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_there_once_and_in_order() {
        let mut set = SmallSet::default();
        for name in ["c", "a", "b", "a"] {
            set.insert(name);
        }
        set.remove("x");
        set.remove("b");
        assert_eq!(set.iter().copied().collect::<Vec<_>>(), ["a", "c"]);
        set.remove("a");
        set.remove("c");
        assert!(set.is_empty());
    }

    #[test]
    fn it_is_divided_at_a_member_or_between_two() {
        let mut set = SmallSet::default();
        for number in [10, 20, 30] {
            set.insert(number);
        }
        assert_eq!((set.before(&20), set.after(&20)), (&[10][..], &[30][..]));
        assert_eq!((set.before(&25), set.after(&25)), (&[10, 20][..], &[30][..]));
        assert_eq!((set.before(&5), set.after(&40)), (&[][..], &[][..]));
    }
}
