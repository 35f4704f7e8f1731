//! The rules, held against a real API server with real garbage collection. One module a group of promises.

mod claims;
mod foreign;
mod lifecycle;
mod metrics;
mod migrating;
mod outposts;
mod refusals;
mod rendered;
mod repair;
mod resilience;
mod shards;
mod status;
mod tenant;
mod traefik;

/// The controller that is tested.
const PROGRAM: &str = env!("CARGO_BIN_EXE_ingress-sso");
