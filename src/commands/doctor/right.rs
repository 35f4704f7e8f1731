//! A right in the API, as messages name it.

use kube::Resource;
use std::fmt;

/// The right to do something with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Right {
    pub(in crate::commands) verb: &'static str,
    /// Group of the API; empty for the core's.
    pub(in crate::commands) group: String,
    /// Plural, with the subresource after a slash where it is one.
    pub(in crate::commands) resource: String,
    /// The namespace in which it is needed; `None` for all.
    pub(in crate::commands) namespace: Option<String>,
}

impl Right {
    /// The right to list a kind.
    pub(in crate::commands) fn to_list<K: Resource<DynamicType = ()>>(namespace: Option<&str>) -> Self {
        Self {
            verb: "list",
            group: K::group(&()).into_owned(),
            resource: K::plural(&()).into_owned(),
            namespace: namespace.map(str::to_owned),
        }
    }

    /// How to see whether one has it, and what grants it.
    pub(in crate::commands) fn remedy(&self) -> String {
        let Self { verb, group, resource, namespace } = self;
        let (kind_of_object, subresource) = match resource.split_once('/') {
            Some((kind, subresource)) => (kind, format!(" --subresource={subresource}")),
            None => (resource.as_str(), String::new()),
        };
        let dot = if group.is_empty() { "" } else { "." };
        let scope = namespace.as_ref().map_or("-A".to_owned(), |namespace| format!("-n {namespace}"));
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        format!(
            "kubectl auth can-i {verb} {kind_of_object}{dot}{group}{subresource} {scope}\n\
             it takes a {kind} with apiGroups: [{group:?}], resources: [{resource}], verbs: [{verb}]"
        )
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)
    }
}

/// Whether the API server says that this is not allowed.
pub(in crate::commands) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_takes_subresources_by_a_flag() {
        let right = Right {
            verb: "get",
            group: String::new(),
            resource: "services/proxy".to_owned(),
            namespace: Some("sso".to_owned()),
        };
        assert_eq!(right.to_string(), "get services/proxy");
        let expected = "kubectl auth can-i get services --subresource=proxy -n sso\n\
                        it takes a Role with apiGroups: [\"\"], resources: [services/proxy], verbs: [get]";
        assert_eq!(right.remedy(), expected);
    }
}
