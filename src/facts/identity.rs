//! Which object was seen, and when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Which life of an object was seen, and in which version: what a later write is conditioned on.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Form);

/// One is kept for every Ingress of the cluster, and spelled out only for those that are written to.
#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// As API servers write the two: a UUID and an integer, spelled as these are here.
    Usual { uid: Uuid, version: u64 },
    /// In any other spelling: by the API's contract both are opaque.
    Other(Box<Texts>),
}

#[derive(Clone, PartialEq, Eq)]
struct Texts {
    uid: String,
    version: String,
}

impl Identity {
    /// The identity in this metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::new(
            metadata.uid.as_deref().unwrap_or_default(),
            metadata.resource_version.as_deref().unwrap_or_default(),
        )
    }

    /// The identity of these two, each empty for an object that was read from a file.
    pub fn new(uid: &str, resource_version: &str) -> Self {
        Self(usual(uid, resource_version).unwrap_or_else(|| {
            Form::Other(Box::new(Texts { uid: uid.to_owned(), version: resource_version.to_owned() }))
        }))
    }

    /// `metadata.uid`; empty for an object that was read from a file.
    pub fn uid(&self) -> String {
        match &self.0 {
            Form::Usual { uid, .. } => uid.hyphenated().to_string(),
            Form::Other(texts) => texts.uid.clone(),
        }
    }

    /// `metadata.resourceVersion`; empty for an object that was read from a file.
    pub fn resource_version(&self) -> String {
        match &self.0 {
            Form::Usual { version, .. } => version.to_string(),
            Form::Other(texts) => texts.version.clone(),
        }
    }

    /// Whether both are of the same life of an object, whatever the versions.
    pub fn is_same_life(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Usual { uid, .. }, Form::Usual { uid: other, .. }) => uid == other,
            _ => self.uid() == other.uid(),
        }
    }

    /// Whether `self` shows the object no later than `known` does, in the same life of it or in one before, so that learning it
    /// would be going back in time.
    ///
    /// Resource versions of one resource are integers that grow, by the API's own contract since Kubernetes
    /// 1.35 and in practice since 1.0; one that is not an integer never counts as old. They go back only where an old backup of
    /// etcd is restored without `--bump-revision`, after which every controller has to be started anew.
    pub fn is_no_newer_than(&self, known: &Self) -> bool {
        match (self.version(), known.version()) {
            (Some(new), Some(old)) => new < old || new == old && self.is_same_life(known),
            _ => false,
        }
    }

    /// The resource version as a number, where it is one.
    pub fn version(&self) -> Option<u64> {
        match &self.0 {
            Form::Usual { version, .. } => Some(*version),
            Form::Other(texts) => texts.version.parse().ok(),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new("", "")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.uid(), self.resource_version())
    }
}

/// `None` where the texts would not come back as they are.
fn usual(uid_text: &str, version_text: &str) -> Option<Form> {
    let uid = Uuid::try_parse(uid_text).ok()?;
    let is_same = uid.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]) == uid_text;
    let version = version_text.parse().ok()?;
    let is_plain = version_text == "0" || !version_text.starts_with(['0', '+']);
    (is_same && is_plain).then_some(Form::Usual { uid, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-0000-4000-8000-00000000000f";

    #[test]
    fn texts_come_back_as_they_were() {
        let uids = [UID, &UID.to_uppercase(), &UID.replace('-', ""), "uid-of-app", ""];
        for uid in uids {
            for version in ["7", "0", "007", "+7", "18446744073709551615", "18446744073709551616", "a", ""] {
                let identity = Identity::new(uid, version);
                assert_eq!((identity.uid().as_str(), identity.resource_version().as_str()), (uid, version));
            }
        }
    }

    #[test]
    fn a_life_is_told_by_the_uid_alone() {
        let life = Identity::new(UID, "7");
        for version in ["7", "8", "a", ""] {
            assert!(life.is_same_life(&Identity::new(UID, version)), "{version:?}");
        }
        assert!(!life.is_same_life(&Identity::new(&UID.replace('f', "e"), "7")));
        assert!(!life.is_same_life(&Identity::default()));
    }

    #[test]
    fn versions_have_an_order_whatever_the_life() {
        let known = Identity::new(UID, "7");
        let is_old = |uid: &str, version: &str| Identity::new(uid, version).is_no_newer_than(&known);
        assert!(is_old(UID, "7") && is_old(UID, "6"));
        assert!(is_old("an earlier life", "6"));
        assert!(!is_old(UID, "8") && !is_old(UID, "a"));
        assert!(!is_old("a later life", "8") && !is_old("somebody else's", "7"));
    }
}
