//! `ingress-sso admission`: policies by which the API server itself keeps doors closed.
//!
//! No webhook: the API server carries them out itself, so there is nothing that could be down.

mod closing;
mod guard;
mod installed;

pub(super) use installed::{Installed, MUTATING, Support, look, support};

use super::CommandError;
use crate::cli::{AdmissionArgs, Policy};
use crate::config::Settings;
use crate::contract::{Keys, LEGACY_CLASS, MANAGER};
use serde_json::{Value, json};
use std::io::Write;

pub(super) const GROUP: &str = "admissionregistration.k8s.io";
const API_VERSION: &str = "admissionregistration.k8s.io/v1";

/// Label of all that is printed, and its value.
const NAME: &str = "app.kubernetes.io/name";

/// Spelled like an entry of [`crate::contract::ROUTER_MIDDLEWARES`] that the controller writes; see
/// [`crate::contract::middleware_name`].
const OUR_MIDDLEWARE: &str = "^.+[-_]authentik-.+-[0-9a-f]{10}@kubernetescrd$";

/// Prints the policies.
pub fn admission(args: &AdmissionArgs) -> Result<(), CommandError> {
    let settings = args.plan.settings()?;
    let accounts = args.accounts()?;
    let mut text = Vec::new();
    if args.policies.contains(&Policy::Closing) {
        text.push(manifests(&settings));
    }
    if args.policies.iter().any(|policy| *policy != Policy::Closing) {
        text.push(guards(&settings, &args.policies, &accounts));
    }
    // A reader that hangs up early, such as `head`, has seen what it wanted.
    let _ = std::io::stdout().write_all(text.join("---\n").as_bytes());
    Ok(())
}

/// Policies that close apps until they are protected, as a YAML stream.
pub fn manifests(settings: &Settings) -> String {
    stream(&closing::policies(settings))
}

/// Those of `policies` that say who may do what, as a YAML stream. They do not hold for `accounts`, which are the users
/// of controllers.
pub fn guards(settings: &Settings, policies: &[Policy], accounts: &[String]) -> String {
    let documents =
        Policy::ALL.into_iter().filter(|policy| policies.contains(policy)).flat_map(|policy| match policy {
            Policy::Closing => Vec::new(),
            Policy::Status => guard::status(&settings.keys, accounts),
            Policy::Opening => guard::opening(&settings.keys, accounts),
        });
    stream(&documents.collect::<Vec<_>>())
}

fn stream(documents: &[Value]) -> String {
    let documents = documents.iter().filter_map(|document| serde_saphyr::to_string(document).ok());
    documents.collect::<Vec<_>>().join("---\n")
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "labels": { NAME: MANAGER } })
}

/// The value of an annotation of `object`, an Ingress in the words of CEL; empty without it.
fn annotation(object: &str, key: &str) -> String {
    format!("{object}.metadata.?annotations[?'{key}'].orValue('')")
}

/// Whether `object` asks for protection, be it by an invalid value.
fn asks(keys: &Keys, object: &str) -> String {
    format!("{object}.metadata.?annotations[?'{}'].orValue('false') != 'false'", keys.opt_in)
}

/// A list of names. In single quotes, which need no others around them where it is written as YAML, and without spaces, at which that
/// breaks lines: the chart puts other names in its place.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    format!("[{}]", quoted.join(","))
}

/// The class of `object`.
fn class_of(object: &str) -> String {
    format!(
        "{object}.spec.?ingressClassName.orValue({object}.metadata.?annotations[?'{LEGACY_CLASS}'].orValue(''))"
    )
}
