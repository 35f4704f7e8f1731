//! Whether admission policies close new apps until they are protected.

use super::super::admission::{self, Installed, MUTATING};
use super::check::Check;
use super::right::{Right, is_forbidden};
use crate::errors::brief;
use kube::Client;

const SUBJECT: &str = "admission policies";

/// Nothing is wrong without them, as long as somebody knows.
pub(super) async fn check(client: &Client) -> Check {
    judge(admission::look(client).await)
}

fn judge(installed: Installed) -> Check {
    let open = "a new app is open until the controller's first write to it";
    match installed {
        Installed::There(names) => {
            Check::good(SUBJECT, format!("an app is closed until it is protected, by {}", names.join(", ")))
        }
        Installed::None => {
            Check::good(SUBJECT, format!("none: {open}; \"ingress-sso admission\" prints some that close it"))
        }
        Installed::Unsupported => {
            Check::good(SUBJECT, format!("none: {open}; policies that close it need Kubernetes 1.36"))
        }
        Installed::Unknown(error) if is_forbidden(&error) => {
            let group = admission::GROUP.to_owned();
            let right = Right { verb: "list", group, resource: MUTATING.to_owned(), namespace: None };
            Check::unchecked(SUBJECT, format!("you may not {right}")).remedy(right.remedy())
        }
        Installed::Unknown(error) => Check::unchecked(SUBJECT, brief(&error)),
    }
}
