//! Who owns which annotation of an object, by the rules of the API server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// Keys of annotations by manager and operation.
#[derive(Default)]
struct Owners(BTreeMap<(String, String), BTreeSet<String>>);

impl Owners {
    fn of(metadata: &ObjectMeta) -> Self {
        let entries = metadata.managed_fields.iter().flatten().map(|entry| {
            let who =
                (entry.manager.clone().unwrap_or_default(), entry.operation.clone().unwrap_or_default());
            let fields =
                entry.fields_v1.as_ref().and_then(|fields| fields.0.pointer("/f:metadata/f:annotations"));
            let keys = fields.and_then(Value::as_object).into_iter().flat_map(Map::keys);
            (who, keys.filter_map(|key| key.strip_prefix("f:")).map(str::to_owned).collect())
        });
        Self(entries.collect())
    }

    fn note(self, metadata: &mut ObjectMeta) {
        let entries = self.0.into_iter().filter(|(_, keys)| !keys.is_empty());
        metadata.managed_fields = Some(
            entries
                .map(|((manager, operation), keys)| {
                    let fields: Map<String, Value> =
                        keys.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
                    ManagedFieldsEntry {
                        manager: Some(manager),
                        operation: Some(operation),
                        fields_v1: Some(FieldsV1(json!({"f:metadata": {"f:annotations": fields}}))),
                        ..ManagedFieldsEntry::default()
                    }
                })
                .collect(),
        );
    }

    /// Those of everybody but `me`.
    fn others<'a>(&'a self, me: &'a (String, String)) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |(who, _)| *who != me).flat_map(|(_, keys)| keys)
    }
}

/// `manager` makes `annotations` of what is there, by any request but an apply: what changes is his alone.
pub(crate) fn update(metadata: &mut ObjectMeta, manager: &str, annotations: BTreeMap<String, String>) {
    let before = metadata.annotations.take().unwrap_or_default();
    let is_new = |(key, value): &(&String, &String)| before.get(*key) != Some(*value);
    let changed: BTreeSet<String> = annotations.iter().filter(is_new).map(|(key, _)| key.clone()).collect();
    let mut owners = Owners::of(metadata);
    for keys in owners.0.values_mut() {
        keys.retain(|key| annotations.contains_key(key) && !changed.contains(key));
    }
    owners.0.entry((manager.to_owned(), UPDATE.to_owned())).or_default().extend(changed);
    metadata.annotations = Some(annotations);
    owners.note(metadata);
}

/// `manager` applies `wanted`. The error is an annotation that somebody else gave another value, unless it is by force.
pub(crate) fn apply(
    metadata: &mut ObjectMeta,
    manager: &str,
    wanted: &BTreeMap<String, String>,
    force: bool,
) -> Result<(), String> {
    let me = (manager.to_owned(), APPLY.to_owned());
    let mut owners = Owners::of(metadata);
    let annotations = metadata.annotations.get_or_insert_default();
    let differs = |key: &&String| wanted.get(*key).is_some_and(|value| annotations.get(*key) != Some(value));
    let conflicts: BTreeSet<String> = owners.others(&me).filter(differs).cloned().collect();
    if let Some(key) = conflicts.first().filter(|_| !force) {
        return Err(key.clone());
    }
    let kept: BTreeSet<String> = owners.others(&me).cloned().collect();
    let former = owners.0.remove(&me).unwrap_or_default();
    annotations.retain(|key, _| !former.contains(key) || wanted.contains_key(key) || kept.contains(key));
    annotations.extend(wanted.clone());
    for keys in owners.0.values_mut() {
        keys.retain(|key| !conflicts.contains(key));
    }
    owners.0.insert(me, wanted.keys().cloned().collect());
    owners.note(metadata);
    Ok(())
}

/// Keys that `manager` applied.
pub(crate) fn applied_by(metadata: &ObjectMeta, manager: &str) -> BTreeSet<String> {
    owned(metadata, |who| who.0 == manager && who.1 == APPLY)
}

/// Keys that `manager` owns, however he came by them.
pub(crate) fn owned_by(metadata: &ObjectMeta, manager: &str) -> BTreeSet<String> {
    owned(metadata, |who| who.0 == manager)
}

/// Keys that anybody but `manager` owns.
pub(crate) fn owned_by_others(metadata: &ObjectMeta, manager: &str) -> BTreeSet<String> {
    owned(metadata, |who| who.0 != manager)
}

fn owned(metadata: &ObjectMeta, is_meant: impl Fn(&(String, String)) -> bool) -> BTreeSet<String> {
    let owners = Owners::of(metadata).0.into_iter();
    owners.filter(|(who, _)| is_meant(who)).flat_map(|(_, keys)| keys).collect()
}
