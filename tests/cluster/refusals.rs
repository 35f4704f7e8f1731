//! A refusal is told on the app, in an Event, and heals when its cause goes. The table of all refusals is the
//! specification; here is what only a real API server can show.

use crate::PROGRAM;
use anyhow::Result;
use ingress_sso_testbed::builders::ingress_class;
use ingress_sso_testbed::scene::{MESSAGE, OPT_IN, Scene, annotation, injected};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

#[tokio::test]
async fn a_refused_app_has_a_status_a_message_and_an_event_and_nothing_else() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    let canary =
        scene.opted_in("n8n", "app.example.com").annotation("nginx.ingress.kubernetes.io/canary", "true");
    scene.create::<Ingress>(canary).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert!(annotation(&refused, MESSAGE).is_some_and(|message| message.contains("canary")));
    assert_eq!(injected(&refused), ["sso.djieno.com/message", "sso.djieno.com/status"]);
    let event = scene.until_event("n8n", "Canary").await?;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    scene.until_names::<Ingress>(&["n8n"]).await?;
    scene.until_names::<Service>(&[]).await?;
    scene.until_names::<ConfigMap>(&[]).await?;
    scene.annotate("n8n", "nginx.ingress.kubernetes.io/canary", None).await?;
    let protected = scene.until_protected("n8n").await?;
    assert_eq!(annotation(&protected, MESSAGE), None);
    Ok(())
}

#[tokio::test]
async fn a_value_other_than_true_and_false_never_opens_a_protected_app() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com")).await?;
    let before = injected(&scene.until_protected("n8n").await?).len();
    scene.annotate("n8n", OPT_IN, Some("flase")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert!(annotation(&refused, MESSAGE).is_some_and(|message| message.contains("\"flase\"")));
    assert_eq!(injected(&refused).len(), before + 1, "all as before, and a message");
    scene.ingress("n8n-outpost-path").await?;
    scene.annotate("n8n", OPT_IN, Some("false")).await?;
    scene.until_only(&["n8n"]).await
}

#[tokio::test]
async fn an_unknown_class_heals_when_it_appears_and_an_unsupported_one_is_named() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    scene.create::<Ingress>(scene.opted_in("n8n", "app.example.com").class("appears-later")).await?;
    let refused = scene.until_status("n8n", "Refused").await?;
    assert!(annotation(&refused, MESSAGE).is_some_and(|message| message.contains("\"appears-later\"")));
    let classes: Api<IngressClass> = Api::all(scene.client());
    classes.create(&PostParams::default(), &ingress_class("appears-later", "k8s.io/ingress-nginx")).await?;
    scene.until_protected("n8n").await?;
    classes.delete("appears-later", &DeleteParams::default()).await?;
    classes.create(&PostParams::default(), &ingress_class("unsupported", "example.com/lb")).await?;
    scene.create::<Ingress>(scene.opted_in("other", "other.example.com").class("unsupported")).await?;
    let refused = scene.until_status("other", "Refused").await?;
    let message = annotation(&refused, MESSAGE).unwrap_or_default();
    assert!(message.contains("\"example.com/lb\"") && message.contains("k8s.io/ingress-nginx"), "{message}");
    classes.delete("unsupported", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn the_legacy_class_annotation_is_copied_to_the_route() -> Result<()> {
    let scene = Scene::new(PROGRAM).await?;
    let _controller = scene.controller(&[]).await?;
    let app = scene.opted_in("n8n", "app.example.com").legacy_class("nginx");
    scene.create::<Ingress>(app).await?;
    scene.until_protected("n8n").await?;
    let route = scene.ingress("n8n-outpost-path").await?;
    assert_eq!(annotation(&route, "kubernetes.io/ingress.class"), Some("nginx"));
    assert_eq!(route.spec.and_then(|spec| spec.ingress_class_name), None);
    Ok(())
}
