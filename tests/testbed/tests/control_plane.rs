//! The control plane does what the tests of a controller rely on.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Result, bail};
use ingress_sso_testbed::{
    builders::{ingress, namespace},
    control_plane::{ControlPlane, kubeconfig},
    kubectl::{kubectl, kubectl_with_input},
    wait::eventually,
    writes::Writes,
};
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, LimitRange, Namespace, ServiceAccount},
        networking::v1::Ingress,
        rbac::v1::{ClusterRole, PolicyRule, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};

/// The garbage collector and the namespace controller start after the API server, learn of kinds every 30 seconds, and wait up to
/// 30 seconds after failures.
const SOON: Duration = Duration::from_secs(90);

/// A namespace of the test's own in the shared control plane.
async fn own_namespace(name: &str) -> Result<(&'static ControlPlane, Client)> {
    let plane = ControlPlane::shared().await?;
    let client = plane.client()?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace(name)).await?;
    Ok((plane, client))
}

fn named<K: Resource + Default>(name: &str) -> K {
    let mut object = K::default();
    object.meta_mut().name = Some(name.to_owned());
    object
}

fn owner(config_map: &ConfigMap) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: config_map.name_any(),
        uid: config_map.uid().unwrap_or_default(),
        ..Default::default()
    }
}

async fn gone(ingresses: &Api<Ingress>, name: &str) -> Result<()> {
    eventually(format!("the end of Ingress {name}"), SOON, || async {
        Ok(ingresses.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_owned_ingress_goes_with_its_owner() -> Result<()> {
    let (_, client) = own_namespace("garbage").await?;
    let owners: Api<ConfigMap> = Api::namespaced(client.clone(), "garbage");
    let ingresses: Api<Ingress> = Api::namespaced(client, "garbage");
    let created = owners.create(&PostParams::default(), &named("owner")).await?;
    let owned = ingress("garbage", "owned").host("owned.example.com").owner(owner(&created)).build();
    ingresses.create(&PostParams::default(), &owned).await?;
    ingresses.create(&PostParams::default(), &ingress("garbage", "free").build()).await?;

    owners.delete("owner", &DeleteParams::default()).await?;

    gone(&ingresses, "owned").await?;
    assert!(ingresses.get_opt("free").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_contents_along() -> Result<()> {
    let (_, client) = own_namespace("doomed").await?;
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "doomed");
    ingresses.create(&PostParams::default(), &ingress("doomed", "app").build()).await?;
    let namespaces: Api<Namespace> = Api::all(client);

    namespaces.delete("doomed", &DeleteParams::default()).await?;

    gone(&ingresses, "app").await?;
    eventually("the end of the namespace", SOON, || async {
        Ok(namespaces.get_opt("doomed").await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_allows() -> Result<()> {
    let (plane, client) = own_namespace("rbac").await?;
    let create = PostParams::default();
    Api::<ServiceAccount>::namespaced(client.clone(), "rbac").create(&create, &named("reader")).await?;
    let rules = vec![PolicyRule {
        api_groups: Some(vec!["networking.k8s.io".to_owned()]),
        resources: Some(vec!["ingresses".to_owned()]),
        verbs: vec!["list".to_owned()],
        ..Default::default()
    }];
    let role = ClusterRole { rules: Some(rules), ..named("ingress-reader") };
    Api::<ClusterRole>::all(client.clone()).create(&create, &role).await?;
    let binding = RoleBinding {
        metadata: ObjectMeta { name: Some("reader".to_owned()), ..Default::default() },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: "ingress-reader".to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: "reader".to_owned(),
            namespace: Some("rbac".to_owned()),
            ..Default::default()
        }]),
    };
    Api::<RoleBinding>::namespaced(client, "rbac").create(&create, &binding).await?;

    let reader = kubeconfig::client(&plane.service_account_kubeconfig("rbac", "reader").await?).await?;
    let ingresses: Api<Ingress> = Api::namespaced(reader, "rbac");

    eventually("the role to count", SOON, || async {
        Ok(Some(ingresses.list(&ListParams::default()).await?.items.len()))
    })
    .await?;
    match ingresses.create(&create, &ingress("rbac", "app").build()).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(()),
        other => bail!("a reader wrote: {other:?}"),
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let nobody = kubeconfig::client(&plane.kubeconfig_for_token("nobody", "wrong")?).await?;
    match Api::<Namespace>::all(nobody).list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 401),
        other => bail!("without a valid token: {other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn writes_are_counted() -> Result<()> {
    // Of its own: where another test deletes a namespace, the server counts a deletion of every resource.
    let plane = ControlPlane::start().await?;
    let client = plane.client()?;
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let resources = ["endpoints", "limitranges"];
    let limits: Api<LimitRange> = Api::default_namespaced(client.clone());
    let quiet = Duration::from_millis(200);
    let before = Writes::settled(&client, &resources, quiet).await?;

    limits.create(&PostParams::default(), &named("limits")).await?;
    let apply = |dry_run| PatchParams { dry_run, ..PatchParams::apply("test") };
    let applied = Patch::Apply(serde_json::json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits", "labels": {"a": "b"}},
    }));
    limits.patch("limits", &apply(false), &applied).await?;
    limits.patch("limits", &apply(true), &applied).await?;
    let merged = Patch::Merge(serde_json::json!({"metadata": {"labels": {"a": "c"}}}));
    limits.patch("limits", &PatchParams::default(), &merged).await?;
    limits.delete("limits", &DeleteParams::default()).await?;
    config_maps.list(&ListParams::default()).await?;

    let writes = &Writes::settled(&client, &resources, quiet).await? - &before;
    let expected = "       1  APPLY            200  limitranges\n       1  DELETE           200  limitranges\n       \
                    1  PATCH            200  limitranges\n       1  POST             201  limitranges\n";
    assert_eq!(writes.to_string(), expected);
    Ok(())
}

#[tokio::test]
async fn kubectl_applies_and_explains_itself() -> Result<()> {
    let (plane, client) = own_namespace("kubectl").await?;
    let manifest = serde_json::to_string(&ingress("kubectl", "app").host("kubectl.example.com").build())?;

    let said = kubectl_with_input(plane.kubeconfig(), &["apply", "-f", "-"], &manifest).await?;

    assert_eq!(said.trim(), "ingress.networking.k8s.io/app created");
    assert!(Api::<Ingress>::namespaced(client, "kubectl").get_opt("app").await?.is_some());
    let Err(error) = kubectl(plane.kubeconfig(), &["get", "ingress", "--namespace", "kubectl", "none"]).await
    else {
        bail!("kubectl got what does not exist");
    };
    assert!(format!("{error:#}").contains("NotFound"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn the_api_server_comes_back_with_its_data() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client()?;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let data = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    config_maps.create(&PostParams::default(), &ConfigMap { data: Some(data), ..named("kept") }).await?;

    plane.stop_api_server()?;
    assert!(config_maps.get("kept").await.is_err());
    plane.start_api_server().await?;
    assert!(config_maps.get("kept").await?.data.is_some());

    plane.pause_api_server()?;
    let silence = tokio::time::timeout(Duration::from_millis(300), config_maps.get("kept")).await;
    assert!(silence.is_err(), "a paused server answered: {silence:?}");
    plane.resume_api_server()?;
    assert!(config_maps.get("kept").await?.data.is_some());

    // The garbage collector gets over it too.
    let created = config_maps.create(&PostParams::default(), &named("owner")).await?;
    let ingresses: Api<Ingress> = Api::namespaced(client, "default");
    ingresses
        .create(&PostParams::default(), &ingress("default", "owned").owner(owner(&created)).build())
        .await?;
    config_maps.delete("owner", &DeleteParams::default()).await?;
    gone(&ingresses, "owned").await?;

    let dir = plane.dir().to_owned();
    assert!(fs::exists(&dir)?);
    drop(plane);
    assert!(!fs::exists(&dir)?, "{} is left", dir.display());
    Ok(())
}
