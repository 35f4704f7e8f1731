//! The rules by which a Lease changes hands. No clock but the one that is passed in, no API.
//!
//! Nobody compares clocks with others: a holder counts as alive for a time from when a change of the Lease was *seen*, as in
//! Kubernetes' own client-go.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// One that wants a Lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    identity: String,
    /// For how long others are to believe in it without hearing of it.
    duration: Duration,
    /// As it was found or written last.
    lease: Option<Lease>,
    seen: Option<Seen>,
    /// When it ceases to hold the Lease unless it renews it.
    until: Option<Instant>,
}

/// Somebody else's Lease.
#[derive(Clone, Debug)]
struct Seen {
    holder: String,
    /// `None` where it has been deleted since.
    version: Option<String>,
    /// When it was seen first in this version.
    since: Instant,
    /// How long its holder counts as alive from then on.
    lifetime: Duration,
}

impl Seen {
    /// For how long its holder counts as alive yet.
    fn left(&self, now: Instant) -> Duration {
        self.lifetime.saturating_sub(now.duration_since(self.since))
    }
}

/// What a candidate does next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Make the Lease, as nobody has.
    Create(Box<Lease>),
    /// Write this in place of the version that was seen, and of no other.
    Replace(Box<Lease>),
    /// Look again after `pause`, since `holder` has it.
    Wait {
        /// Who that is.
        holder: String,
        /// How long to wait.
        pause: Duration,
    },
}

impl Candidate {
    /// One of this identity, for the Lease `name`.
    pub fn new(name: &str, identity: &str, duration: Duration) -> Self {
        Self {
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration,
            lease: None,
            seen: None,
            until: None,
        }
    }

    /// Whether it may write at `now`.
    pub fn is_held(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether the Lease has to be looked at before the next [`Candidate::step`]: one that holds it goes by what it wrote last.
    pub fn has_to_look(&self, now: Instant) -> bool {
        !self.is_held(now) || self.lease.is_none()
    }

    /// Takes note of the Lease as it is.
    pub fn found(&mut self, lease: Option<Lease>) {
        self.lease = lease;
    }

    /// What to do about the Lease at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        self.seen = self.look(now);
        if let Some(seen) = self.seen.as_ref().filter(|seen| !seen.left(now).is_zero()) {
            self.until = None;
            return Step::Wait { holder: seen.holder.clone(), pause: seen.left(now).min(super::RETRY) };
        }
        if let Some(lease) = &self.lease {
            return Step::Replace(Box::new(self.held(lease.clone())));
        }
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        Step::Create(Box::new(self.held(Lease { metadata, spec: None })))
    }

    /// Takes note that the API server wrote what a step asked for, in a round that began at `start`. The answer is until when
    /// the Lease is held by that: less long than others believe in it, and from before the request, since those count from when
    /// they saw what it wrote.
    pub fn won(&mut self, lease: Lease, start: Instant) -> Instant {
        self.lease = Some(lease);
        self.seen = None;
        let until = start + self.duration.saturating_sub(super::MARGIN);
        self.until = Some(until);
        until
    }

    /// Takes note that the Lease was not as it was seen, and how it is. The answer is who else has it.
    pub fn missed(&mut self, lease: Option<Lease>) -> Option<&str> {
        self.lease = lease;
        if self.other_holder().is_some() {
            self.until = None;
        }
        self.other_holder()
    }

    /// Takes note that a request failed, of which nobody knows what came of it.
    pub fn failed(&mut self) {
        self.lease = None;
    }

    /// What to write in place of the Lease for the next one to take it at once, where it is held at `now`. It is not from then
    /// on, whatever becomes of that.
    pub fn release(&mut self, now: Instant) -> Option<Lease> {
        let is_held = self.is_held(now);
        self.until = None;
        let mut lease = self.lease.take().filter(|_| is_held)?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(self::now());
        Some(lease)
    }

    /// Who else is to be believed in, and since when. Also the holder of a Lease that was deleted, or that says now that it is
    /// this candidate's: it knows nothing of that before its next renewal.
    fn look(&mut self, now: Instant) -> Option<Seen> {
        let before = self.seen.take();
        let is_ours = self.lease.is_some() && self.holder() == Some(&self.identity);
        if is_ours && before.as_ref().is_none_or(|before| before.left(now).is_zero()) {
            return None;
        }
        let (holder, lifetime) = match &self.lease {
            Some(lease) if !is_ours => (self.other_holder()?.to_owned(), lifetime(lease, self.duration)),
            _ => before.as_ref().map(|before| (before.holder.clone(), before.lifetime))?,
        };
        let version = self.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let since = before.filter(|before| before.version == version).map_or(now, |before| before.since);
        Some(Seen { holder, version, since, lifetime })
    }

    /// Who else holds the Lease, as far as it says so.
    fn other_holder(&self) -> Option<&str> {
        self.holder().filter(|holder| !holder.is_empty() && *holder != self.identity)
    }

    fn holder(&self) -> Option<&str> {
        self.lease.as_ref()?.spec.as_ref()?.holder_identity.as_deref()
    }

    /// `lease` held by this candidate.
    fn held(&self, mut lease: Lease) -> Lease {
        let before = lease.spec.take().unwrap_or_default();
        let is_renewal = before.holder_identity.as_deref() == Some(&self.identity);
        let changes = before.lease_transitions.unwrap_or(0);
        let is_first = before.acquire_time.is_none();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: before.acquire_time.filter(|_| is_renewal).or_else(|| Some(now())),
            renew_time: Some(now()),
            lease_transitions: Some(if is_renewal || is_first { changes } else { changes.saturating_add(1) }),
            ..before
        });
        lease
    }

    /// All that decides about what it does next, for the model.
    #[cfg(test)]
    pub(super) fn outlook(&self, now: Instant) -> Outlook<'_> {
        let age = |seen: &Seen| now.duration_since(seen.since).min(seen.lifetime);
        Outlook {
            left: self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
            lease: self.lease.as_ref().filter(|_| self.is_held(now)),
            seen: self
                .seen
                .as_ref()
                .map(|seen| (seen.holder.as_str(), seen.version.as_deref(), age(seen), seen.lifetime)),
        }
    }
}

/// See [`Candidate::outlook`]. Times are relative, and what has no effect any more is left out.
#[cfg(test)]
pub(super) struct Outlook<'a> {
    /// For how long it still holds the Lease.
    pub(super) left: Duration,
    /// The Lease, as long as it is not to be looked at anyway.
    pub(super) lease: Option<&'a Lease>,
    /// Who else holds it, in which version, how long it has been seen so, and for how long that counts.
    pub(super) seen: Option<(&'a str, Option<&'a str>, Duration, Duration)>,
}

/// How long a holder counts as alive that is not heard of: as it says itself.
fn lifetime(lease: &Lease, usual: Duration) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    seconds.map_or(usual, Duration::from_secs)
}

/// For people only; see the module's documentation.
fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn candidate(identity: &str) -> Candidate {
        Candidate::new("ingress-sso", identity, DURATION)
    }

    /// What `step` writes, in the version that the API server gives it.
    fn written(step: Step, version: &str) -> Lease {
        let (Step::Create(mut lease) | Step::Replace(mut lease)) = step else { panic!("{step:?}") };
        lease.metadata.resource_version = Some(version.to_owned());
        *lease
    }

    /// What it does about the Lease `found`.
    fn step(candidate: &mut Candidate, found: Option<&Lease>, now: Instant) -> Step {
        candidate.found(found.cloned());
        candidate.step(now)
    }

    fn is_wait(step: &Step, by: &str) -> bool {
        matches!(step, Step::Wait { holder, .. } if holder == by)
    }

    #[test]
    fn the_first_makes_it_and_goes_on_renewing_it() {
        let mut one = candidate("one");
        let now = Instant::now();
        let lease = written(step(&mut one, None, now), "1");
        let spec = lease.spec.clone().unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("one"), Some(0)));
        let renewed = written(step(&mut one, Some(&lease), now + DURATION * 9), "2");
        let renewed = renewed.spec.unwrap();
        assert_eq!((renewed.acquire_time, renewed.lease_transitions), (spec.acquire_time, Some(0)));
    }

    #[test]
    fn another_waits_for_as_long_as_it_sees_it_renewed() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let start = Instant::now();
        let mut lease = written(step(&mut one, None, start), "0");
        for second in 1..200 {
            let now = start + Duration::from_secs(second);
            assert!(is_wait(&step(&mut two, Some(&lease), now), "one"), "after {second} s");
            if second % 10 == 0 {
                lease = written(step(&mut one, Some(&lease), now), &second.to_string());
            }
        }
    }

    #[test]
    fn another_takes_it_when_it_was_not_renewed_for_its_lifetime() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let start = Instant::now();
        let lease = written(step(&mut one, None, start), "1");
        // However long ago that was written: what counts is when it was seen.
        let seen = start + Duration::from_hours(1);
        assert!(is_wait(&step(&mut two, Some(&lease), seen), "one"));
        assert!(is_wait(&step(&mut two, Some(&lease), seen + DURATION - Duration::from_millis(1)), "one"));
        let taken = written(step(&mut two, Some(&lease), seen + DURATION), "2").spec.unwrap();
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("two"), Some(1)));
    }

    #[test]
    fn what_is_written_is_conditioned_on_what_was_seen() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let lease = written(step(&mut one, None, Instant::now()), "7");
        let Step::Replace(renewed) = step(&mut one, Some(&lease), Instant::now()) else {
            panic!("no renewal")
        };
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("7"));
        step(&mut two, Some(&lease), Instant::now());
        let Step::Replace(taken) = step(&mut two, Some(&lease), Instant::now() + DURATION) else {
            panic!("not taken")
        };
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let now = Instant::now();
        let lease = written(step(&mut one, None, now), "1");
        one.won(lease, now);
        let released = one.release(now).unwrap();
        assert!(!one.is_held(now) && one.release(now).is_none());
        let taken = written(step(&mut two, Some(&released), Instant::now()), "3").spec.unwrap();
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("two"), Some(1)));
    }

    #[test]
    fn the_holder_of_a_lease_that_was_deleted_is_believed_in_until_it_must_know() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let start = Instant::now();
        let lease = written(step(&mut one, None, start), "1");
        step(&mut two, Some(&lease), start);
        let deleted = start + Duration::from_secs(9);
        assert!(is_wait(&step(&mut two, None, deleted), "one"));
        assert!(is_wait(&step(&mut two, None, deleted + DURATION - Duration::from_millis(1)), "one"));
        assert!(matches!(step(&mut one, None, deleted), Step::Create(_)), "its own it makes again");
        assert!(matches!(step(&mut two, None, deleted + DURATION), Step::Create(_)));
    }

    #[test]
    fn who_is_given_a_lease_by_hand_waits_until_its_holder_must_know() {
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let start = Instant::now();
        let mut lease = written(step(&mut one, None, start), "1");
        step(&mut two, Some(&lease), start);
        lease.spec.as_mut().unwrap().holder_identity = Some("two".to_owned());
        lease.metadata.resource_version = Some("2".to_owned());
        let given = start + Duration::from_secs(9);
        assert!(is_wait(&step(&mut two, Some(&lease), given), "one"));
        assert!(is_wait(&step(&mut two, Some(&lease), given + DURATION - Duration::from_millis(1)), "one"));
        let taken = written(step(&mut two, Some(&lease), given + DURATION), "3");
        two.won(taken, given + DURATION);
        assert!(matches!(step(&mut two, None, given + DURATION), Step::Create(_)), "it is its own now");
    }

    #[test]
    fn a_holder_says_itself_for_how_long_it_is_believed_in() {
        let (mut one, mut two) = (Candidate::new("x", "one", Duration::from_mins(1)), candidate("two"));
        let start = Instant::now();
        let lease = written(step(&mut one, None, start), "1");
        step(&mut two, Some(&lease), start);
        assert!(is_wait(&step(&mut two, Some(&lease), start + DURATION * 2), "one"));
        let mut odd = lease;
        odd.spec.as_mut().unwrap().lease_duration_seconds = Some(-1);
        odd.metadata.resource_version = Some("2".to_owned());
        step(&mut two, Some(&odd), start);
        assert!(matches!(step(&mut two, Some(&odd), start + DURATION), Step::Replace(_)));
    }
}
