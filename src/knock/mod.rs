//! Knocks at an app's real door as a stranger: whether its public address leads to the login, and whether any of the known
//! tricks leads past it.
//!
//! [`knock`] sends at most [`MAX_KNOCKS`] GETs, one after the other: one as a visitor, a few to know the outpost's own answers,
//! and one for each of [`TRICKS`]. Nothing that could log anyone in or out is sent: no cookie, no token, no `/callback`, no
//! `/sign_out`. Redirects are read and not followed, but for one from http to https and one to the outpost's `/start`.
//!
//! What can be seen from outside is who answers and not who was asked, so a verdict says where it cannot tell. Headers that say
//! who a visitor is (`X-authentik-…`) are not tried: an app that is closed does not show what it was told.

mod answer;
mod baseline;
mod door;
mod report;
mod trick;
mod unchecked;
mod verdict;
mod visit;

pub use baseline::{Baseline, NotFoundBy};
pub use door::{Door, InvalidPath, Through};
pub use report::{Finding, Grade, Report};
pub use trick::{Sends, TRICKS, Trick};
pub use verdict::Verdict;
pub use visit::knock;

/// How many requests are sent at most. One whose connection was lost is sent once more.
pub const MAX_KNOCKS: usize = 26 + SECOND_TRIES;

/// How many tricks are tried a second time whose answer could be chance.
pub const SECOND_TRIES: usize = 4;
