//! What the controller may do, against what it has to do.

use super::check::Check;
use super::controller::{Controller, INSTALL};
use super::right::{Right, is_forbidden};
use crate::config::Scope;
use crate::errors::brief;
use futures::{StreamExt, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client};

const SUBJECT: &str = "rights";

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// All that the controller does in the API: group, resource and verbs. deploy/install.yaml grants just these.
pub const NEEDED_RIGHTS: [(&str, &str, &[&str]); 6] = [
    ("networking.k8s.io", "ingresses", &["get", "list", "watch", "create", "patch", "delete"]),
    ("networking.k8s.io", "ingressclasses", &["list", "watch"]),
    ("", "services", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "configmaps", &["get", "list", "watch", "create", "patch", "delete"]),
    ("traefik.io", "middlewares", &["get", "list", "watch", "create", "patch", "delete"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

/// The same in the controller's own namespace, where one of several replicas writes.
pub const NEEDED_OWN_RIGHTS: (&str, &str, &[&str]) =
    ("coordination.k8s.io", "leases", &["get", "create", "update"]);

/// Whose rights are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// Whoever asks, who is the controller.
    Oneself(String),
    /// The controller.
    User(String),
}

/// Asks about every right that the controller needs in `scope`. Those to Traefik's Middlewares only count where there are
/// Middlewares.
pub(super) async fn check(
    client: &Client,
    controller: Option<&Controller>,
    scope: &Scope,
    has_middlewares: bool,
) -> Check {
    let Some(subject) = subject(client, controller).await else {
        return Check::unchecked(SUBJECT, "it is not known as whom the controller runs");
    };
    let mut rights = needed(scope, has_middlewares);
    if let Some(lease) = controller.and_then(Controller::lease) {
        rights.extend(rights_to(&NEEDED_OWN_RIGHTS, Some(&lease.namespace)));
    }
    let asked = stream::iter(&rights).map(|right| ask(client, &subject, right)).buffered(AT_ONCE);
    let answers: Vec<Result<bool, kube::Error>> = asked.collect().await;
    let mut missing = Vec::new();
    for (right, answer) in rights.iter().zip(answers) {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(right),
            Err(error) => return unanswered(&subject, &error),
        }
    }
    let install = controller.map_or_else(|| INSTALL.to_owned(), Controller::install);
    judge(&subject, rights.len(), &missing, &install)
}

async fn subject(client: &Client, controller: Option<&Controller>) -> Option<Subject> {
    let review = Api::<SelfSubjectReview>::all(client.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await;
    let user_info = review.ok().and_then(|review| review.status).and_then(|status| status.user_info);
    let me = user_info.and_then(|user| user.username).unwrap_or_default();
    match controller.map(Controller::user) {
        Some(user) if user == me => Some(Subject::Oneself(user)),
        Some(user) => Some(Subject::User(user)),
        None if is_inside() && me.starts_with("system:serviceaccount:") => Some(Subject::Oneself(me)),
        None => None,
    }
}

/// Whether this process runs in a Pod.
pub(super) fn is_inside() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn needed(scope: &Scope, has_middlewares: bool) -> Vec<Right> {
    let namespaces: Vec<Option<String>> = match scope {
        Scope::Cluster => vec![None],
        Scope::Namespaces(names) => names.iter().cloned().map(Some).collect(),
    };
    let groups =
        NEEDED_RIGHTS.iter().filter(|(_, resource, _)| has_middlewares || *resource != "middlewares");
    let mut rights = Vec::new();
    for (group, resource, verbs) in groups {
        let everywhere = [None];
        let namespaces = if *resource == "ingressclasses" { &everywhere[..] } else { &namespaces };
        for namespace in namespaces {
            rights.extend(rights_to(&(group, resource, verbs), namespace.as_ref()));
        }
    }
    rights
}

fn rights_to<'a>(
    (group, resource, verbs): &(&'a str, &'a str, &'static [&'static str]),
    namespace: Option<&'a String>,
) -> impl Iterator<Item = Right> + use<'a> {
    let (group, resource) = (*group, *resource);
    verbs.iter().map(move |&verb| Right {
        verb,
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.cloned(),
    })
}

/// Whether whoever asks has this right.
pub(in crate::commands) async fn may(client: &Client, right: &Right) -> Result<bool, kube::Error> {
    ask(client, &Subject::Oneself(String::new()), right).await
}

async fn ask(client: &Client, subject: &Subject, right: &Right) -> Result<bool, kube::Error> {
    let attributes = ResourceAttributes {
        verb: Some(right.verb.to_owned()),
        group: Some(right.group.clone()),
        resource: Some(right.resource.clone()),
        namespace: right.namespace.clone(),
        ..ResourceAttributes::default()
    };
    let params = PostParams::default();
    let is_allowed = |status: Option<SubjectAccessReviewStatus>| status.is_some_and(|status| status.allowed);
    match subject {
        Subject::Oneself(_) => {
            let spec =
                SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            Ok(is_allowed(Api::all(client.clone()).create(&params, &review).await?.status))
        }
        Subject::User(user) => {
            let spec = SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: Some(user.clone()),
                groups: Some(groups_of(user)),
                ..Default::default()
            };
            let review = SubjectAccessReview { spec, ..Default::default() };
            Ok(is_allowed(Api::all(client.clone()).create(&params, &review).await?.status))
        }
    }
}

/// The groups that every `ServiceAccount` is in.
fn groups_of(user: &str) -> Vec<String> {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}

impl Subject {
    fn name(&self) -> &str {
        match self {
            Self::Oneself(user) | Self::User(user) => user,
        }
    }
}

fn unanswered(subject: &Subject, error: &kube::Error) -> Check {
    if !is_forbidden(error) {
        return Check::unchecked(SUBJECT, brief(error));
    }
    let right = Right {
        verb: "create",
        group: "authorization.k8s.io".to_owned(),
        resource: "subjectaccessreviews".to_owned(),
        namespace: None,
    };
    let finding = format!("whether {} has all its rights is not known: you may not ask", subject.name());
    Check::catch(SUBJECT, finding).remedy(right.remedy())
}

fn judge(subject: &Subject, asked: usize, missing: &[&Right], install: &str) -> Check {
    let user = subject.name();
    if missing.is_empty() {
        return Check::good(SUBJECT, format!("{user} has all {asked} that it needs"));
    }
    let in_words = |right: &&Right| match &right.namespace {
        Some(namespace) => format!("{right} in {namespace}"),
        None => right.to_string(),
    };
    let list = missing.iter().map(in_words).collect::<Vec<_>>().join(", ");
    let scope =
        |right: &&Right| right.namespace.as_ref().map_or("-A".to_owned(), |name| format!("-n {name}"));
    let example =
        missing.first().map(|right| format!("\nkubectl auth can-i {right} {} --as={user}", scope(right)));
    Check::wrong(SUBJECT, format!("{user} may not {list}"))
        .remedy(format!("{install}{}", example.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_needed_in_each_namespace_and_to_classes_everywhere() {
        assert_eq!(needed(&Scope::Cluster, true).len(), 28);
        assert_eq!(needed(&Scope::Cluster, false).len(), 22);
        let scope = Scope::Namespaces(["a".to_owned(), "b".to_owned()].into());
        let rights = needed(&scope, true);
        assert_eq!(rights.len(), 2 * 26 + 2);
        assert!(rights.iter().all(|right| right.namespace.is_some() != (right.resource == "ingressclasses")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let subject = Subject::User("system:serviceaccount:sso:sso".to_owned());
        let rights = needed(&Scope::Namespaces(["shop".to_owned()].into()), true);
        let check = judge(&subject, 28, &[&rights[4], &rights[6]], INSTALL);
        let expected = "system:serviceaccount:sso:sso may not patch ingresses.networking.k8s.io in shop, list \
                        ingressclasses.networking.k8s.io";
        assert_eq!(check.finding, expected);
        let expected = "kubectl apply -f deploy/install.yaml\nkubectl auth can-i patch ingresses.networking.k8s.io -n \
                        shop --as=system:serviceaccount:sso:sso";
        assert_eq!(check.remedy.as_deref(), Some(expected));
        assert_eq!(groups_of(subject.name())[1], "system:serviceaccounts:sso");
    }
}
