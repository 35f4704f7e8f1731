//! JSON merge patches.

use serde_json::{Value, json};

/// Changes `value` as RFC 7386 has it.
pub(crate) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, new) in patch {
        if new.is_null() {
            if let Some(object) = value.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut value[key], new);
        }
    }
}
