//! What the demo says.

use anyhow::Result;
use kube::Resource;
use serde::Serialize;
use serde_json::json;

/// Begins a chapter.
pub(crate) fn step(what: &str) {
    println!("\n==> {what}");
}

/// Says what happened.
pub(crate) fn say(what: &str) {
    println!("    {what}");
}

/// Prints an object as one would write it by hand: without what the API server adds for itself.
pub(crate) fn print_object<K>(api_version: &str, kind: &str, object: &K) -> Result<()>
where
    K: Resource + Clone + Serialize,
{
    let mut object = object.clone();
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.uid = None;
    metadata.creation_timestamp = None;
    metadata.generation = None;
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = json!(api_version);
    value["kind"] = json!(kind);
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| name != "status");
    }
    println!();
    for line in serde_saphyr::to_string(&value)?.lines() {
        println!("      {line}");
    }
    println!();
    Ok(())
}
