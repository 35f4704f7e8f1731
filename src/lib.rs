//! ingress-sso puts an app on Kubernetes behind authentik when its Ingress carries one annotation.
//!
//! Data flows one way, and the modules follow it:
//!
//! ```text
//! watch ──► facts ──► index ──► plan ──► changes ──► write ──► report
//! ```
//!
//! - [`contract`]: every annotation, label and name that users see; [`config`] and [`cli`]: the settings.
//! - [`middleware`]: the one custom resource that is written, Traefik's.
//! - [`facts`]: what is remembered of each object. Pure.
//! - [`plan`]: what should exist, or why not. Pure.
//! - [`index`]: holds the facts, knows who is affected by a change, gathers what bears on one app.
//! - [`anonymous`]: the requests of a stranger.
//! - [`knock`]: tries, at an app's public address, what a stranger may try.
//! - [`probe`]: asks an outpost whether it serves a host.
//! - [`watched`]: Ingresses as a watch decodes them, which is not whole.
//! - [`lease`]: which of several replicas writes.
//! - [`controller`]: watches and writes. The only part that changes anything in the API.
//! - `errors`: errors in a few words.
//! - [`commands`]: the other subcommands; [`telemetry`]: logs, health and metrics.

pub mod anonymous;
pub mod cli;
pub mod commands;
pub mod config;
pub mod contract;
pub mod controller;
mod errors;
pub mod facts;
pub mod index;
pub mod knock;
pub mod lease;
pub mod middleware;
pub mod plan;
pub mod probe;
pub mod telemetry;
pub mod watched;
