//! Whether what must hold does.

use super::super::LAST_WRITES;
use super::{CLAIM, Doing, Replica, State, at};

/// Whether a replica may write.
pub(super) fn is_held(state: &State, replica: usize) -> bool {
    let Replica { candidate, doing, .. } = &state.replicas[replica];
    !matches!(doing, Doing::Nothing) && candidate.is_held(at(state.now))
}

/// Whether a write may be under way that a replica began when it held the Lease.
fn may_be_writing(state: &State, replica: usize) -> bool {
    let ended = state.replicas[replica].held_until;
    is_held(state, replica) || ended.is_some_and(|end| state.now < end + LAST_WRITES.as_secs())
}

/// Whether one holds the Lease while another does, or may still be writing on account of having held it.
pub(super) fn are_two(state: &State) -> bool {
    let all = 0..state.replicas.len();
    let mut holders = all.clone().filter(|replica| is_held(state, *replica));
    holders.any(|one| all.clone().any(|two| two != one && may_be_writing(state, two)))
}

/// Whether what people did to the Lease is long enough ago that everybody who did not know of it must know.
pub(super) fn is_long_ago(state: &State) -> bool {
    let longest = (CLAIM + LAST_WRITES).as_secs();
    state.meddled.is_none_or(|meddled| state.now >= meddled + longest)
}
