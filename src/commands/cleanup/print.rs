//! What people read of a cleanup.

use crate::contract::Keys;
use crate::controller::withdraw::{Way, Withdrawn};
use crate::plan::changes::{Change, Kind};
use std::io::Write;
use std::time::{Duration, Instant};

/// Pause between two lines of progress.
const PAUSE: Duration = Duration::from_secs(5);

/// Failures and leftovers that are told one by one.
const MAX_LINES: usize = 50;

/// Prints results to standard output, and all else to standard error.
pub(super) struct Printer<'a> {
    way: Way,
    is_dry_run: bool,
    keys: &'a Keys,
    requests: usize,
    last: Instant,
}

/// A dry run does not mind the controller; what follows it would.
pub(super) fn warn_of_holder(holder: Option<&str>, stop: &str) {
    if let Some(holder) = holder {
        eprintln!("the controller seems to run, its Lease is held by {holder}; before you do this, {stop}");
    }
}

impl<'a> Printer<'a> {
    pub(super) fn new(way: Way, is_dry_run: bool, keys: &'a Keys) -> Self {
        Self { way, is_dry_run, keys, requests: 0, last: Instant::now() }
    }

    /// Tells of a request that was carried out.
    pub(super) fn tell(&mut self, change: &Change) {
        self.requests += 1;
        if self.is_dry_run {
            return print(&change.to_string());
        }
        if self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            eprintln!("{} requests done", self.requests);
        }
    }

    /// Tells what came of it.
    pub(super) fn sum_up(&self, withdrawn: &Withdrawn) {
        let problems = withdrawn.failures.iter().map(|(key, error)| format!("failed: {key}: {error}"));
        let kept = withdrawn.kept.iter().map(|(key, reason)| format!("kept: {key}: {reason}"));
        let problems: Vec<String> = problems.chain(kept).collect();
        problems.iter().take(MAX_LINES).for_each(|line| eprintln!("{line}"));
        if problems.len() > MAX_LINES {
            eprintln!("… and {} more", problems.len() - MAX_LINES);
        }
        if withdrawn.is_cut_short {
            eprintln!("stopped before the end; run it again for the rest");
        }
        print(&self.summary(withdrawn));
    }

    fn summary(&self, withdrawn: &Withdrawn) -> String {
        let verb = match (self.way, self.is_dry_run) {
            (Way::TakeBack, false) => "took back",
            (Way::TakeBack, true) => "would take back",
            (Way::HandOver, false) => "handed over",
            (Way::HandOver, true) => "would hand over",
        };
        if withdrawn.apps.is_empty() && withdrawn.companions.is_empty() {
            let left = if withdrawn.is_whole() { "of the controller's is there" } else { "was done" };
            return format!("nothing {left}");
        }
        let apps = counted(withdrawn.apps.len(), "app", "apps");
        let namespaces = counted(withdrawn.namespaces.len(), "namespace", "namespaces");
        let companions: Vec<String> =
            withdrawn.companions.iter().map(|(kind, count)| of_kind(*kind, *count)).collect();
        let companions =
            if companions.is_empty() { String::new() } else { format!(": {}", companions.join(", ")) };
        format!("{verb} {apps} in {namespaces}{companions}\n{}", self.outlook())
    }

    fn outlook(&self) -> String {
        let are = if self.is_dry_run { "would be" } else { "are" };
        let opt_in = &self.keys.opt_in;
        match self.way {
            Way::TakeBack => format!(
                "These apps {are} open: their {opt_in} annotations stay, and a controller that is installed again protects them again."
            ),
            Way::HandOver => format!(
                "These apps {are} protected by what is there, and nobody repairs it, updates it, or removes it with {opt_in}."
            ),
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn of_kind(kind: Kind, count: usize) -> String {
    match kind {
        Kind::Ingress => counted(count, "route", "routes"),
        Kind::Service => counted(count, "Service", "Services"),
        Kind::ConfigMap => counted(count, "ConfigMap", "ConfigMaps"),
        Kind::Middleware => counted(count, "Middleware", "Middlewares"),
    }
}

/// A reader that hangs up early, such as `head`, has seen what it wanted.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
