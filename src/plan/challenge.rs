//! The ACME challenges of cert-manager, which have to be answered without a login.

use super::refusal::Refusal;
use crate::facts::{AppFacts, is_go_true};

/// Annotation by which cert-manager puts its challenge on the app's own Ingress.
const CHALLENGE_IN_PLACE: &str = "acme.cert-manager.io/http01-edit-in-place";

/// What a data plane cannot serve that asks for a login at every path of an Ingress: a challenge on the app's own.
pub(super) fn check(app: &AppFacts) -> Result<(), Refusal> {
    if app.annotation(CHALLENGE_IN_PLACE).is_some_and(is_go_true) {
        return Err(Refusal::ChallengeInPlace { key: CHALLENGE_IN_PLACE.to_owned() });
    }
    Ok(())
}
