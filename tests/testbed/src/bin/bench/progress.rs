//! Says on standard error what is going on, and how long it may go on.

use crate::plan::{Plan, Scenario};
use crate::{broken, cold_start, cost, hot, latency, memory, restart};
use std::time::Instant;

/// See the module's documentation.
pub(crate) struct Progress {
    start: Instant,
    /// Guessed seconds of everything, and of what has ended.
    total: f64,
    done: f64,
    current: f64,
}

impl Progress {
    /// Nothing has been done yet of `plan`.
    pub(crate) fn new(plan: &Plan) -> Self {
        let total = plan.scenarios.iter().map(|scenario| match scenario {
            Scenario::ColdStart => cold_start::guess(plan),
            Scenario::Latency => latency::guess(plan),
            Scenario::Restart => restart::guess(plan),
            Scenario::Memory => memory::guess(plan),
            Scenario::Broken => broken::guess(plan),
            Scenario::Hot => hot::guess(plan),
            Scenario::Cost => cost::guess(plan),
        });
        Self { start: Instant::now(), total: total.sum(), done: 0.0, current: 0.0 }
    }

    /// What was going on has ended, and `what` begins, which takes about `seconds` on an idle machine with two cores.
    pub(crate) fn begin(&mut self, what: &str, seconds: f64) {
        self.done += std::mem::replace(&mut self.current, seconds);
        // The first guess is as good as the machine; later ones know it.
        let elapsed = self.start.elapsed().as_secs_f64();
        let pace = if self.done > 0.0 { elapsed / self.done } else { 1.0 };
        let left = (self.total - self.done).max(0.0) * pace;
        eprintln!("bench: {elapsed:>5.0} s  {what} (all done in about {})", words(left));
    }
}

fn words(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
