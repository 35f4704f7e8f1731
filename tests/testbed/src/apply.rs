//! Objects that are to be as they are written, whether they exist or not.

use std::fmt::Debug;

use anyhow::{Context, Result};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};

/// Who applies, for the API server.
const MANAGER: &str = "testbed";

/// Makes the object or changes it: fields that an earlier call had and this one has not go away.
///
/// Fails when the API server refuses it, also because a webhook or an invalid value does.
pub async fn apply<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let params = PatchParams::apply(MANAGER).force();
    let name = object.name_any();
    let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
    applied.with_context(|| format!("apply {} {name}", K::kind(&())))?;
    Ok(())
}
