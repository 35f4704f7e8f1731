//! What should exist: pure functions of facts and settings. No client, no clock, no async.
//!
//! [`request`] reads what one app asks for, [`decide`] sets it against the rest of the cluster, [`companions`] spells
//! the objects out, and [`changes`] compares them with what is there. [`injected`] reads back what protects an app as it stands. What differs between data planes is in a file for each
//! [`Dialect`].

mod challenge;
pub mod changes;
pub mod companions;
pub mod decision;
mod dialect;
pub mod hand_over;
pub mod injected;
mod nginx;
pub mod outpost;
pub(crate) mod quote;
pub mod refusal;
pub mod request;
pub mod status;
mod traefik;
mod traefik_nginx;
pub mod waiting;
pub mod warning;

pub use decision::{AppView, Decision, HostHolder, Protection, Slot, decide};
pub use dialect::Dialect;
pub(crate) use nginx::{BYPASSES as NGINX_BYPASSES, CHECK as NGINX_CHECK};
