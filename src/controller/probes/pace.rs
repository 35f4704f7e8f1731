//! How often outposts are asked: soon where something is new or wrong, slowly where all is well, and never in a storm.

use super::steady::Steady;
use std::time::Duration;
use tokio::time::Instant;

/// Hosts that one outpost is asked about at the same time, once it has answered.
pub(super) const CONCURRENCY: usize = 8;

/// Hosts a second that one outpost is asked about; each is about five requests.
const RATE: u32 = 25;

/// Hosts that it may be asked about at once after a pause.
const BURST: u32 = 25;

/// Pause before an answer that surprises is asked for again.
const CONFIRM: Duration = Duration::from_secs(3);

/// Shortest and longest pause before a host is asked about again that is served.
const SERVED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(10));

/// For each host that the outpost serves, the pause grows by this much.
const SERVED_STEP: Duration = Duration::from_secs(2);

/// Shortest and longest pause before a host is asked about again that is not served: someone may be setting it up.
const WANTING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// For each host that the outpost is asked about, the longest of those pauses grows by this much.
const WANTING_STEP: Duration = Duration::from_millis(200);

/// The pause before a host is asked about again, `wanting` times in a row not served, at an outpost that is asked about `hosts`.
/// Up to a quarter less by chance, so that what came together does not stay together.
pub(super) fn pause(steady: &Steady, wanting: u32, hosts: usize) -> Duration {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    let full = if steady.is_in_doubt() {
        CONFIRM
    } else if wanting == 0 {
        SERVED_STEP.saturating_mul(hosts).clamp(SERVED.0, SERVED.1)
    } else {
        let longest = WANTING.1.max(WANTING_STEP.saturating_mul(hosts));
        WANTING.0.saturating_mul(1 << (wanting - 1).min(16)).min(longest)
    };
    full.mul_f64(0.75 + fastrand::f64() / 4.0)
}

/// Lets [`BURST`] through at once, and [`RATE`] a second from there on.
#[derive(Debug)]
pub(super) struct Throttle {
    /// When the next one is due if there were no bursts: up to [`BURST`] of them may be ahead of it.
    due: Instant,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Takes a turn at `now`, or says when there is one.
    pub(super) fn turn(&mut self, now: Instant) -> Result<(), Instant> {
        let interval = Duration::from_secs(1) / RATE;
        let earliest = self.due.checked_sub(interval * (BURST - 1)).unwrap_or(self.due);
        if now < earliest {
            return Err(earliest);
        }
        self.due = self.due.max(now) + interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Conclusion;

    fn steady(found: &Conclusion) -> Steady {
        let mut steady = Steady::default();
        steady.observe(found, Instant::now());
        steady
    }

    #[test]
    fn the_more_hosts_the_slower_each_is_asked_again() {
        let served = steady(&Conclusion::Served);
        for (hosts, seconds) in [(1, 30), (15, 30), (100, 200), (300, 600), (5000, 600), (usize::MAX, 600)] {
            let full = Duration::from_secs(seconds);
            let pause = pause(&served, 0, hosts);
            assert!(pause > full * 7 / 10 && pause <= full, "{hosts}: {pause:?}");
        }
    }

    #[test]
    fn what_is_not_served_is_asked_soon_and_then_later() {
        let wanting = steady(&Conclusion::WrongMode { host: String::new() });
        for (times, hosts, seconds) in [(1, 1, 5), (2, 1, 10), (9, 1, 60), (99, 1, 60), (99, 5000, 1000)] {
            let full = Duration::from_secs(seconds);
            let pause = pause(&wanting, times, hosts);
            assert!(pause > full * 7 / 10 && pause <= full, "{times}: {pause:?}");
        }
    }

    #[test]
    fn a_surprise_is_asked_for_again_at_once() {
        let mut served = steady(&Conclusion::Served);
        served.observe(&Conclusion::WrongMode { host: String::new() }, Instant::now());
        assert!(pause(&served, 1, 5000) <= CONFIRM);
    }

    #[test]
    fn turns_come_in_a_burst_and_then_at_the_rate() {
        let mut throttle = Throttle::new();
        let start = Instant::now();
        let mut now = start;
        let mut turns = 0;
        while now < start + Duration::from_secs(10) {
            match throttle.turn(now) {
                Ok(()) => turns += 1,
                Err(due) => now = due,
            }
        }
        assert!((BURST + 9 * RATE..=BURST + 10 * RATE + 1).contains(&turns), "{turns}");
        // After a long pause no more than a burst.
        now += Duration::from_hours(1);
        let burst = (0..1000).filter(|_| throttle.turn(now).is_ok()).count();
        assert_eq!(burst, BURST as usize);
    }
}
