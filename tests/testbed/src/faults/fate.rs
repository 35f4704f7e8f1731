//! What becomes of a request, by chance.

use fastrand::Rng;
use hyper::{Method, StatusCode};
use std::time::Duration;

/// Longest delay before a request is passed on, and as much before its answer is.
const LATE: Duration = Duration::from_millis(1500);

/// How long a watch lasts that is to end.
const WATCH_ENDS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(3));

/// Longest delay of what a watch that stalls delivers, each time.
const STALL: Duration = Duration::from_secs(2);

/// How likely what goes wrong: of a thousand requests, or watches, so many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// Answered with 429, 500, 503, 409 or 410, and not passed on.
    pub refused: u16,
    /// Passed on, and the connection ends without an answer.
    pub lost: u16,
    /// Passed on, and answered with 500 or 504 whatever the answer was.
    pub masked: u16,
    /// The connection ends in the middle of the answer.
    pub cut_short: u16,
    /// Passed on late, and answered late.
    pub late: u16,
    /// Watches that end after a while, one way or another.
    pub watch_ends: u16,
    /// Watches that deliver late what they deliver.
    pub watch_stalls: u16,
}

/// What becomes of a request that is no watch.
#[derive(Debug)]
pub(super) enum Fate {
    Pass,
    Refuse(StatusCode),
    Lose,
    Mask(StatusCode),
    CutShort,
    Late { before: Duration, after: Duration },
}

/// What becomes of a watch.
#[derive(Debug, Default)]
pub(super) struct WatchFate {
    pub(super) refused: Option<StatusCode>,
    pub(super) end: Option<(Duration, End)>,
    pub(super) stalls: bool,
}

/// How a watch ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// As when the server's time for it is over.
    Properly,
    /// The connection is gone.
    Broken,
    /// In the middle of what it was to deliver next.
    MidLine,
    /// Its version is too old: an event says 410.
    Expired,
}

/// Decides.
pub(super) struct Dice {
    rng: Rng,
    pub(super) odds: Odds,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), odds: Odds::default() }
    }

    pub(super) fn request(&mut self, method: &Method) -> Fate {
        let roll = self.rng.u16(0..1000);
        let Odds { refused, lost, masked, cut_short, late, .. } = self.odds;
        let mut limit = 0;
        let mut within = |odds: u16| {
            limit += odds;
            roll < limit
        };
        if within(refused) {
            Fate::Refuse(self.refusal(method))
        } else if within(lost) {
            Fate::Lose
        } else if within(masked) {
            Fate::Mask(self.choice(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::GATEWAY_TIMEOUT]))
        } else if within(cut_short) {
            Fate::CutShort
        } else if within(late) {
            Fate::Late { before: self.up_to(LATE), after: self.up_to(LATE) }
        } else {
            Fate::Pass
        }
    }

    pub(super) fn watch(&mut self) -> WatchFate {
        let mut happens = |odds: u16| self.rng.u16(0..1000) < odds;
        let Odds { refused, watch_ends, watch_stalls, .. } = self.odds;
        let [is_refused, ends, stalls] = [refused, watch_ends, watch_stalls].map(&mut happens);
        WatchFate {
            refused: is_refused.then(|| self.refusal(&Method::GET)),
            end: ends.then(|| {
                let (shortest, longest) = WATCH_ENDS;
                let end = self.choice(&[End::Properly, End::Broken, End::MidLine, End::Expired]);
                (shortest + self.up_to(longest), end)
            }),
            stalls,
        }
    }

    pub(super) fn stall(&mut self) -> Duration {
        self.up_to(STALL)
    }

    /// 410 is for lists and watches, 409 for writes.
    fn refusal(&mut self, method: &Method) -> StatusCode {
        let special = if method == Method::GET { StatusCode::GONE } else { StatusCode::CONFLICT };
        self.choice(&[
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
            special,
        ])
    }

    fn choice<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }
}
