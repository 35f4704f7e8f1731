//! Two instances, each with namespaces of its own: what docs/scaling.md says that they do not see of each other.

use crate::PROGRAM;
use anyhow::Result;
use ingress_sso_testbed::scene::{PATIENCE, Scene};
use ingress_sso_testbed::wait::eventually;
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

const HOST: &str = "across.example.com";
const OTHER: &str = "other=http://other.authentik.svc.cluster.local:9000";

#[tokio::test]
async fn each_makes_a_route_for_a_host_that_both_have_even_to_another_outpost() -> Result<()> {
    let (one, two) = (Scene::new(PROGRAM).await?, Scene::new(PROGRAM).await?);
    let _first = one.controller(&[]).await?;
    let _second = two.controller_with(&["--outpost", OTHER]).await?;
    for scene in [&one, &two] {
        scene.create::<Ingress>(scene.opted_in("app", HOST)).await?;
        scene.until_protected("app").await?;
        scene.until_names::<Ingress>(&["app", "app-outpost-path"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn neither_warns_of_an_open_neighbour_in_a_namespace_of_the_other() -> Result<()> {
    let (one, two) = (Scene::new(PROGRAM).await?, Scene::new(PROGRAM).await?);
    let _controller = one.controller(&[]).await?;
    two.create::<Ingress>(two.app("open", "neighbour.example.com").path("/b", "Prefix")).await?;
    one.create::<Ingress>(one.opted_in("app", "neighbour.example.com")).await?;
    one.until_protected("app").await?;
    // So that a warning would have been written by now: one about this namespace is.
    one.create::<Ingress>(one.app("open", "neighbour.example.com").path("/c", "Prefix")).await?;
    let warnings = eventually("a warning of the neighbour in the same namespace", PATIENCE, || async {
        let events = one.events("app").await?;
        let warnings: Vec<_> =
            events.into_iter().filter(|event| event.type_.as_deref() == Some("Warning")).collect();
        Ok((!warnings.is_empty()).then_some(warnings))
    })
    .await?;
    let notes: Vec<String> = warnings.iter().filter_map(|event| event.note.clone()).collect();
    assert!(
        notes.iter().all(|note| !note.contains(two.namespace())),
        "{notes:?} of {:?}",
        warnings[0].name_any()
    );
    Ok(())
}
