//! Who leads, where there may be several.

use super::check::Check;
use super::controller::Controller;
use super::right::{Right, is_forbidden};
use crate::commands::CommandError;
use crate::errors::{brief, chain};
use crate::lease::LeaseName;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::header::DATE;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use kube::client::Body;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::timeout;

const SUBJECT: &str = "leader election";

/// How long the API server has to say anything at all.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// The time by the API server's clock, which Leases are renewed by: that of this machine may be another. `None` where it
/// does not say. Fails where it does not answer.
pub(super) async fn now(client: &Client) -> Result<Option<Timestamp>, CommandError> {
    let unreachable = |error: &dyn std::fmt::Display| CommandError::Unreachable(error.to_string());
    let request = Request::get("/version").body(Body::empty()).map_err(|error| unreachable(&error))?;
    let answer = timeout(FIRST_ANSWER, client.send(request)).await;
    let answer = answer
        .map_err(|_| unreachable(&"no answer in time"))?
        .map_err(|error| unreachable(&chain(&error)))?;
    if answer.status() == 401 {
        return Err(unreachable(&"it does not accept the credentials of the kubeconfig"));
    }
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let now = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
    // So that the connection can be used again.
    let _ = answer.into_body().collect().await;
    Ok(now)
}

/// Reads the Lease and judges it.
pub(super) async fn check(client: &Client, controller: &Controller, now: Option<Timestamp>) -> Check {
    let Some(LeaseName { namespace, name, .. }) = controller.lease() else {
        return without_election(controller);
    };
    match Api::<Lease>::namespaced(client.clone(), &namespace).get_opt(&name).await {
        Ok(Some(Lease { spec: Some(lease), .. })) => judge(controller, &lease, now),
        Ok(_) => Check::catch(SUBJECT, format!("there is no Lease {namespace}/{name}, so nobody writes"))
            .remedy(controller.logs()),
        Err(error) if is_forbidden(&error) => {
            let right = Right { verb: "get", ..Right::to_list::<Lease>(Some(&namespace)) };
            Check::unchecked(SUBJECT, format!("you may not {right}")).remedy(right.remedy())
        }
        Err(error) => Check::unchecked(SUBJECT, brief(&error)),
    }
}

fn without_election(controller: &Controller) -> Check {
    let (key, replicas) = (&controller.key, controller.replicas);
    if replicas <= 1 {
        return Check::good(SUBJECT, "one replica, no election needed");
    }
    let finding = format!("{replicas} replicas with --leader-elect=false: they all write");
    let remedy = format!("kubectl scale -n {} deployment/{} --replicas=1", key.namespace, key.name);
    Check::wrong(SUBJECT, finding).remedy(remedy)
}

fn judge(controller: &Controller, lease: &LeaseSpec, now: Option<Timestamp>) -> Check {
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    let renewed = lease.renew_time.as_ref().map(|time| time.0);
    let (Some(renewed), Some(now)) = (renewed, now) else {
        return Check::unchecked(SUBJECT, "the Lease or the API server does not say the time");
    };
    let age = now.duration_since(renewed).as_secs();
    let duration = lease.lease_duration_seconds.unwrap_or(15);
    if holder.is_empty() {
        return Check::catch(SUBJECT, "nobody leads").remedy(controller.logs());
    }
    // The header has whole seconds.
    if age > i64::from(duration) + 1 {
        let finding = format!(
            "{holder} leads and has not renewed its Lease for {age} s, where {duration} s are allowed"
        );
        return Check::catch(SUBJECT, finding).remedy(controller.logs());
    }
    if age < -i64::from(duration) {
        let finding = format!("{holder} leads and its clock is {} s ahead of the API server's", -age);
        return Check::catch(SUBJECT, finding).remedy("set the clocks of the nodes by NTP");
    }
    Check::good(SUBJECT, format!("{holder} leads"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Level;
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    fn controller(replicas: i32) -> Controller {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "namespace": "sso", "name": "sso" },
            "spec": { "replicas": replicas, "selector": {}, "template": {} },
        }))
        .unwrap();
        Controller::of(&deployment)
    }

    fn lease(holder: &str, renewed: &str) -> LeaseSpec {
        serde_json::from_value(json!({
            "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed,
        }))
        .unwrap()
    }

    #[test]
    fn one_needs_no_lease_and_several_do() {
        let now = Some("2026-01-01T00:01:00Z".parse().unwrap());
        let check = |lease: &LeaseSpec| judge(&controller(2), lease, now);
        assert_eq!(without_election(&controller(1)).level, Level::Good);
        let wrong = without_election(&controller(2));
        assert_eq!(wrong.level, Level::Wrong);
        assert_eq!(wrong.remedy.unwrap(), "kubectl scale -n sso deployment/sso --replicas=1");
        for (renewed, level, part) in [
            ("2026-01-01T00:00:50.000000Z", Level::Good, "a leads"),
            ("2026-01-01T00:00:40.000000Z", Level::Catch, "for 20 s, where 15 s"),
            ("2026-01-01T00:02:00.000000Z", Level::Catch, "60 s ahead"),
        ] {
            let found = check(&lease("a", renewed));
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.finding.contains(part), "{found:?}");
        }
        assert_eq!(check(&lease("", "2026-01-01T00:00:50.000000Z")).finding, "nobody leads");
        assert_eq!(
            judge(&controller(2), &lease("a", "2026-01-01T00:00:50.000000Z"), None).level,
            Level::Unchecked
        );
    }
}
