//! Texts that many objects have in common.

use std::collections::HashSet;
use std::sync::Arc;

/// So many texts may gather before the first look for those that nobody uses any more.
const FIRST_SWEEP: usize = 1024;

/// Holds each text once: the name of a namespace or a class, and the values of annotations, come with every Ingress again.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Names {
    /// Puts the text that is held already in the place of an equal one.
    pub fn share(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.known.get(text) {
            *text = Arc::clone(known);
            return;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = FIRST_SWEEP.max(2 * self.known.len());
        }
        self.known.insert(Arc::clone(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_become_one() {
        let mut names = Names::default();
        let (mut first, mut second): (Arc<str>, Arc<str>) = ("nginx".into(), "nginx".into());
        names.share(&mut first);
        names.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn what_nobody_uses_does_not_gather() {
        let mut names = Names::default();
        let mut kept: Arc<str> = "kept".into();
        names.share(&mut kept);
        for number in 0..10 * FIRST_SWEEP {
            names.share(&mut number.to_string().into());
        }
        assert!(names.known.len() <= 2 * FIRST_SWEEP, "{}", names.known.len());
        let mut again: Arc<str> = "kept".into();
        names.share(&mut again);
        assert!(Arc::ptr_eq(&kept, &again));
    }
}
