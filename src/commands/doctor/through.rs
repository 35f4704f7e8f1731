//! The way to an outpost through the API server, which proxies to Services: for those who are not in the cluster.

use super::check::Check;
use super::right::Right;
use crate::anonymous::read_start;
use crate::config::{Address, ClusterDomain, Scheme};
use crate::facts::ObjectKey;
use crate::probe::{Answer, Line, Question, TIMEOUT, Trouble};
use hyper::header::LOCATION;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;

/// What an outpost says of a host that it does not serve; Go's spells its keys with capitals.
const NO_APP: &str = "no app for hostname";

/// How to do without a way through the API server.
pub(super) const FROM_INSIDE: &str =
    "kubectl exec -n ingress-sso deployment/ingress-sso -- /ingress-sso doctor";

/// The Service in the cluster that `address` names, if it does.
pub(super) fn service_of(address: &Address, cluster_domain: &ClusterDomain) -> Option<ObjectKey> {
    let mut parts = address.host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    (cluster_domain.service_host(namespace, name) == address.host).then(|| ObjectKey::new(namespace, name))
}

/// Asks a Service through the API server.
pub(super) struct Through {
    client: Client,
    service: ObjectKey,
    address: Address,
    /// Why the last question did not get to the outpost as it was put.
    pub(super) obstacle: Option<Obstacle>,
}

/// What keeps questions from an outpost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The caller may not use the proxy.
    Forbidden,
    /// There is no such Service.
    NoService,
    /// The API server cannot reach what is behind the Service; its words.
    Unreachable(String),
    /// The outpost goes by the host of the API server, since it does not believe that one's `X-Forwarded-Host`.
    Disbelieved,
    /// The API server itself does not answer, or not as it should; its words.
    NoAnswer(String),
}

/// What the API server says for itself.
#[derive(Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    message: String,
}

impl Through {
    /// A line to the outpost at `address`, which is `service`.
    pub(super) fn new(client: Client, service: ObjectKey, address: Address) -> Self {
        Self { client, service, address, obstacle: None }
    }

    async fn send(&self, question: &Question) -> Result<Answer, Obstacle> {
        let ObjectKey { namespace, name } = &self.service;
        let tls = if self.address.scheme == Scheme::Https { "https:" } else { "" };
        let (port, path) = (self.address.port, &question.path);
        let mut request =
            Request::get(format!("/api/v1/namespaces/{namespace}/services/{tls}{name}:{port}/proxy{path}"));
        for (name, value) in &question.headers {
            request = request.header(*name, value);
        }
        let no_answer = |error: &dyn std::fmt::Display| Obstacle::NoAnswer(error.to_string());
        let request = request.body(Body::empty()).map_err(|error| no_answer(&error))?;
        let answer = self.client.send(request).await.map_err(|error| no_answer(&error))?;
        let answer = read(answer).await;
        match obstacle(question, &answer) {
            Some(obstacle) => Err(obstacle),
            None => Ok(answer),
        }
    }
}

impl Line for Through {
    async fn get(&mut self, question: &Question) -> Result<Answer, Trouble> {
        let sent = timeout(TIMEOUT, self.send(question)).await;
        let sent = sent.unwrap_or_else(|_| Err(Obstacle::Unreachable("no answer in time".to_owned())));
        sent.map_err(|obstacle| {
            self.obstacle = Some(obstacle);
            Trouble::Refused
        })
    }
}

async fn read(answer: Response<Body>) -> Answer {
    let (parts, mut body) = answer.into_parts();
    let mut start = Vec::new();
    // What breaks off has said as much as it will.
    let _ = read_start(&mut body, &mut start).await;
    let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Answer { status: parts.status.as_u16(), location, body: String::from_utf8_lossy(&start).into_owned() }
}

/// What an answer says that is not the outpost's, or not to what was asked.
fn obstacle(question: &Question, answer: &Answer) -> Option<Obstacle> {
    if answer.status == 400 && answer.body.contains(NO_APP) {
        return (!answer.body.contains(&question.host)).then_some(Obstacle::Disbelieved);
    }
    let status: Status = serde_json::from_str(&answer.body).ok().filter(|_| answer.status >= 400)?;
    if status.kind != "Status" {
        return None;
    }
    Some(match answer.status {
        403 => Obstacle::Forbidden,
        404 => Obstacle::NoService,
        502..=504 => Obstacle::Unreachable(status.message),
        _ => Obstacle::NoAnswer(status.message),
    })
}

impl Obstacle {
    /// What it means for the outpost `name`, which is `service`.
    pub(super) fn check(&self, name: &str, service: &ObjectKey) -> Check {
        let ObjectKey { namespace, name: service_name } = service;
        let subject = format!("outpost {name}");
        match self {
            Self::Forbidden => {
                let right = Right {
                    verb: "get",
                    group: String::new(),
                    resource: "services/proxy".to_owned(),
                    namespace: Some(namespace.to_string()),
                };
                let reason = format!("its name does not resolve here, and you may not {right}");
                Check::unchecked(subject, reason).remedy(right.remedy())
            }
            Self::NoService => Check::wrong(subject, format!("there is no Service {service}")).remedy(
                format!("kubectl get service -n {namespace}\nor have the admin correct --outpost {name}=URL"),
            ),
            Self::Unreachable(message) => {
                let finding = format!("the API server gets no answer from Service {service}: {message}");
                Check::wrong(subject, finding).remedy(format!(
                    "kubectl get service,endpointslices -n {namespace} | grep {service_name}\nkubectl get pods -n {namespace}"
                ))
            }
            Self::Disbelieved => Check::unchecked(
                subject,
                "it does not believe the X-Forwarded-Host that the API server passes on \
                 (AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS)",
            )
            .remedy(FROM_INSIDE),
            Self::NoAnswer(message) => Check::unchecked(subject, format!("the API server says: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: u16, body: &str) -> Option<Obstacle> {
        let question =
            Question { host: "app.example.com".to_owned(), path: String::new(), headers: Vec::new() };
        obstacle(&question, &Answer { status, location: None, body: body.to_owned() })
    }

    #[test]
    fn answers_of_the_api_server_are_told_from_those_of_an_outpost() {
        let status =
            |message: &str| format!(r#"{{"kind":"Status","apiVersion":"v1","message":"{message}"}}"#);
        assert_eq!(found(403, &status("no")), Some(Obstacle::Forbidden));
        assert_eq!(found(404, &status("no")), Some(Obstacle::NoService));
        assert_eq!(
            found(503, &status("no endpoints")),
            Some(Obstacle::Unreachable("no endpoints".to_owned()))
        );
        assert_eq!(found(429, &status("slow")), Some(Obstacle::NoAnswer("slow".to_owned())));
        for (code, body) in [
            (200, "{}"),
            (401, "unauthorized request"),
            (404, "not found"),
            (503, ""),
            (403, r#"{"kind":"x"}"#),
        ] {
            assert_eq!(found(code, body), None, "{code} {body}");
        }
    }

    #[test]
    fn an_outpost_that_does_not_learn_the_host_says_nothing_about_it() {
        let body = |host: &str| format!(r#"{{"Message":"no app for hostname","Host":"{host}"}}"#);
        assert_eq!(found(400, &body("app.example.com")), None);
        assert_eq!(found(400, &body("10.0.0.1:6443")), Some(Obstacle::Disbelieved));
    }

    #[test]
    fn names_of_services() {
        let domain = ClusterDomain::default();
        let of = |url: &str| service_of(&url.parse().unwrap(), &domain);
        assert_eq!(of("http://a.b.svc.cluster.local:9000"), Some(ObjectKey::new("b", "a")));
        for other in
            ["http://a.b.svc.other.local", "http://x.a.b.svc.cluster.local", "http://sso.example.com"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
