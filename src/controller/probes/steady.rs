//! What is said of a host, as against what its outpost answers from one moment to the next.

use crate::probe::Conclusion;
use std::time::Duration;
use tokio::time::Instant;

/// So many times in a row an outpost has to be found wanting before it is said that a host is no longer served. A rollout of
/// authentik or a lost packet is no news.
const CONFIRMATIONS: u32 = 3;

/// In any [`WINDOW`] no more than this many changes are said.
const MAX_CHANGES: usize = 2;

/// See [`MAX_CHANGES`].
const WINDOW: Duration = Duration::from_mins(1);

/// The conclusion about one host that people are told, which follows the answers with some inertia.
#[derive(Debug, Default)]
pub(super) struct Steady {
    said: Option<Conclusion>,
    /// How many times in a row something else than that was found.
    doubts: u32,
    /// When the last changes were said, the oldest first.
    changes: [Option<Instant>; MAX_CHANGES],
}

impl Steady {
    /// One of which this is said so far.
    pub(super) fn new(said: Option<Conclusion>) -> Self {
        Self { said, ..Self::default() }
    }

    /// What is said; `None` before the first answer.
    pub(super) fn said(&self) -> Option<&Conclusion> {
        self.said.as_ref()
    }

    /// Whether something else than what is said was found last.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubts > 0
    }

    /// Takes in what was found at `now`. Whether that changes what is said.
    pub(super) fn observe(&mut self, found: &Conclusion, now: Instant) -> bool {
        let Some(said) = &self.said else {
            self.said = Some(found.clone());
            return true;
        };
        if said == found {
            self.doubts = 0;
            return false;
        }
        self.doubts = self.doubts.saturating_add(1);
        let is_confirmed = !said.is_served() || self.doubts >= CONFIRMATIONS;
        let is_calm = self.changes[0].is_none_or(|change| now.duration_since(change) >= WINDOW);
        if !is_confirmed || !is_calm {
            return false;
        }
        self.changes.rotate_left(1);
        self.changes[MAX_CHANGES - 1] = Some(now);
        self.said = Some(found.clone());
        self.doubts = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad() -> Conclusion {
        Conclusion::WrongMode { host: "a.example.com".to_owned() }
    }

    fn worse() -> Conclusion {
        Conclusion::OpenBySkipRule { outpost: "proxy".to_owned(), url: "https://a.example.com/".to_owned() }
    }

    /// What is said after each of `found`, which come `pace` apart.
    fn said(found: &[Conclusion], pace: Duration) -> Vec<Conclusion> {
        let (mut steady, mut now) = (Steady::default(), Instant::now());
        let mut said = Vec::new();
        for found in found {
            steady.observe(found, now);
            said.extend(steady.said().cloned());
            now += pace;
        }
        said
    }

    #[test]
    fn the_first_answer_is_said_at_once_and_so_is_a_cure() {
        let found = [bad(), Conclusion::Served];
        assert_eq!(said(&found, Duration::from_secs(1)), found);
    }

    #[test]
    fn one_wanting_answer_is_no_news_and_three_are() {
        let served = || Conclusion::Served;
        let found = [served(), bad(), bad(), served(), bad(), worse(), bad(), worse()];
        let expected = [served(), served(), served(), served(), served(), served(), bad(), worse()];
        assert_eq!(said(&found, Duration::from_secs(1)), expected);
    }

    #[test]
    fn whatever_an_outpost_does_little_is_said_in_a_minute() {
        let mut random = fastrand::Rng::with_seed(7);
        for pace in [1, 3, 7, 20] {
            let (mut steady, start) = (Steady::default(), Instant::now());
            let mut changes = Vec::new();
            let mut state = Conclusion::Served;
            for step in 0..2000 {
                // Long enough in one state to be believed, and soon in another.
                if random.u8(..4) == 0 {
                    state = [Conclusion::Served, bad(), worse()][random.usize(..3)].clone();
                }
                let now = start + Duration::from_secs(step * pace);
                if steady.observe(&state, now) && step > 0 {
                    changes.push(now);
                }
            }
            assert!(changes.len() > 20, "it did not flap: {}", changes.len());
            for three in changes.windows(MAX_CHANGES + 1) {
                assert!(three[MAX_CHANGES] - three[0] >= WINDOW, "{:?}", three[MAX_CHANGES] - three[0]);
            }
        }
    }

    #[test]
    fn what_was_held_back_is_said_in_the_end() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        for (second, found) in [bad(), worse(), bad(), Conclusion::Served].iter().enumerate() {
            steady.observe(found, start + Duration::from_secs(second as u64));
        }
        assert_eq!(steady.said(), Some(&bad()));
        assert!(steady.is_in_doubt());
        assert!(steady.observe(&Conclusion::Served, start + WINDOW + Duration::from_secs(1)));
    }
}
