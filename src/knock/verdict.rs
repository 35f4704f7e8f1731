//! What came of one trick.

use super::Grade;
use crate::anonymous::Trouble;
use thiserror::Error;
use url::Url;

/// What a stranger gets who plays a trick.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it and its fields mean")]
pub enum Verdict {
    #[error("it leads to the login, as without it")]
    Login,

    #[error("it is refused with {status}")]
    Refused { status: u16 },

    #[error("it gets the outpost's own 404, as far as can be seen from outside")]
    Outpost,

    #[error("OPEN: the answer is {status}{}", .location.as_ref().map(|url| format!(" to {url}")).unwrap_or_default())]
    Opens { status: u16, location: Option<Url> },

    #[error(
        "something on the way to the login believes it: the answer ({status}) is another one than without it"
    )]
    Believed { status: u16 },

    #[error(
        "the answer is {status}, and not the outpost's: from the ingress controller or from the app, which cannot be told apart \
         from outside. If the app's log shows the request, it is open to whoever knows a path"
    )]
    Unclear { status: u16 },

    #[error("there is no answer ({0})")]
    NoAnswer(Trouble),

    #[error("it was not tried, since the door no longer answers")]
    NotTried,
}

impl Verdict {
    /// All that [`Verdict::reason`] may answer.
    pub const REASONS: [&'static str; 8] = [
        "TrickToLogin",
        "TrickRefused",
        "TrickToOutpost",
        "TrickOpens",
        "TrickBelieved",
        "TrickUnclear",
        "TrickUnanswered",
        "TrickNotTried",
    ];

    /// A stable name in `CamelCase`, for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Login => "TrickToLogin",
            Self::Refused { .. } => "TrickRefused",
            Self::Outpost => "TrickToOutpost",
            Self::Opens { .. } => "TrickOpens",
            Self::Believed { .. } => "TrickBelieved",
            Self::Unclear { .. } => "TrickUnclear",
            Self::NoAnswer(_) => "TrickUnanswered",
            Self::NotTried => "TrickNotTried",
        }
    }

    /// How bad it is.
    pub fn grade(&self) -> Grade {
        match self {
            Self::Login | Self::Refused { .. } | Self::Outpost => Grade::Good,
            Self::NoAnswer(_) | Self::NotTried => Grade::Unknown,
            Self::Unclear { .. } => Grade::Catch,
            // Who is logged in to another app may get in by it.
            Self::Believed { .. } | Self::Opens { .. } => Grade::Wrong,
        }
    }
}
