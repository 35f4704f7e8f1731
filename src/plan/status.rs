//! The state of an app, as people read it on its Ingress.

use super::decision::Protection;
use crate::contract::Keys;
use crate::facts::AppFacts;
use crate::probe::Conclusion;
use std::fmt;

/// State of an app, as its `status` annotation says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The route stands, the annotations are in, and the outpost serves the app's hosts, where it was asked.
    Protected,
    /// On its way, or protected by a login that does not work yet.
    Pending,
    /// Someone has to change something first.
    Refused,
    /// The API rejects what the controller has to do.
    Failing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protected => "Protected",
            Self::Pending => "Pending",
            Self::Refused => "Refused",
            Self::Failing => "Failing",
        })
    }
}

/// What is known of whether the outpost serves the hosts of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Assurance {
    /// Nobody asks it.
    #[default]
    NotAsked,
    /// It has been asked, and has not answered yet for all of them.
    Awaited,
    /// It serves all of them.
    Served,
    /// It does not serve one of them, or cannot be asked.
    Missing(Conclusion),
}

/// State of an app with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// A stable `CamelCase` word for Events, logs and metrics.
    pub reason: &'static str,
    /// Why, and what to do; empty while protected.
    pub message: String,
    /// The outpost that guards the app, where one does.
    pub outpost: Option<String>,
}

/// Reason of an app that waits for another one, or for the controller to know the cluster.
pub const WAITING: &str = "Waiting";

/// Reason of an app whose outpost has yet to say whether it serves it.
pub const ASKING: &str = "Asking";

/// Reason of an app for which the API rejects a write.
pub const WRITE_FAILED: &str = "WriteFailed";

impl Status {
    /// An app that is not protected, or not as it should be, for this reason.
    pub fn unprotected(state: State, reason: &'static str, message: String) -> Self {
        Self { state, reason, message, outpost: None }
    }

    /// An app with all that `protection` consists of, going by what is known of its outpost.
    pub(super) fn of_protected(
        assurance: &Assurance,
        protection: &Protection,
        app: &AppFacts,
        keys: &Keys,
    ) -> Self {
        let outpost = &protection.outpost;
        let pending = |reason, message| Self {
            outpost: Some(outpost.clone()),
            ..Self::unprotected(State::Pending, reason, message)
        };
        match assurance {
            Assurance::NotAsked | Assurance::Served => Self::protected(outpost),
            Assurance::Missing(conclusion) => pending(conclusion.reason(), conclusion.to_string()),
            Assurance::Awaited => pending(
                ASKING,
                Self::said(State::Pending, protection, app, keys).unwrap_or_else(|| {
                    format!("visitors are sent to the outpost {outpost:?}, which is being asked whether it serves this app")
                }),
            ),
        }
    }

    /// Whether visitors are sent to log in, and the login is all that may be missing.
    pub fn is_guarded(&self) -> bool {
        self.outpost.is_some()
    }

    /// Whether people should act.
    pub fn is_warning(&self) -> bool {
        match self.state {
            State::Protected => false,
            State::Pending => self.reason != WAITING && self.reason != ASKING,
            State::Refused | State::Failing => true,
        }
    }

    fn protected(outpost: &str) -> Self {
        let outpost = Some(outpost.to_owned());
        Self { state: State::Protected, reason: "Protected", message: String::new(), outpost }
    }

    /// Whether this controller said that the app is protected, which has had all of `protection` since: that stands until more
    /// is known, also over a restart.
    pub fn is_said_protected(protection: &Protection, app: &AppFacts, keys: &Keys) -> bool {
        Self::said(State::Protected, protection, app, keys).is_some()
    }

    /// The message that this controller wrote when it said this state of an app which has had all of `protection` since.
    fn said(state: State, protection: &Protection, app: &AppFacts, keys: &Keys) -> Option<String> {
        let is_set = |(key, value): (&String, &String)| app.annotation(key) == Some(value);
        let is_said =
            app.has_applied(&keys.status) && app.annotation(&keys.status) == Some(&state.to_string());
        (is_said && protection.annotations.iter().all(is_set))
            .then(|| app.annotation(&keys.message).unwrap_or_default().to_owned())
    }
}
