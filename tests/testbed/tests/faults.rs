//! A way to the API server on which things go wrong does what it says; and etcd tells what was written all the same.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::faults::{FaultyProxy, Odds};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::config::{AuthInfo, Kubeconfig};
use kube::{Api, Client, Config};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

const ALWAYS: u16 = 1000;

const SOON: Duration = Duration::from_secs(20);

/// An API server that keeps objects as JSON, and a way to it.
struct Site {
    plane: ControlPlane,
    proxy: FaultyProxy,
    /// By way of the proxy.
    client: Client,
}

impl Site {
    async fn new() -> Result<Self> {
        let plane = ControlPlane::start_with(&["--storage-media-type=application/json"]).await?;
        let proxy = FaultyProxy::start(plane.address(), 1).await?;
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
        let user = kubeconfig.auth_infos.first().and_then(|user| user.auth_info.as_ref());
        let token = user.and_then(|user| user.token.clone()).context("no token")?;
        let mut config = Config::new(format!("http://{}", proxy.address()).parse()?);
        config.auth_info = AuthInfo { token: Some(token), ..AuthInfo::default() };
        config.default_retry = false;
        Ok(Self { plane, proxy, client: Client::try_from(config)? })
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create(&self, name: &str) -> Result<ConfigMap, kube::Error> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        self.api().create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await
    }

    /// Whether there is one of this name, asked of the API server itself.
    async fn has(&self, name: &str) -> Result<bool> {
        let api = Api::<ConfigMap>::namespaced(self.plane.client()?, "default");
        Ok(api.get_opt(name).await?.is_some())
    }
}

#[tokio::test]
async fn each_fault_is_what_it_is_called() -> Result<()> {
    let site = Site::new().await?;
    site.create("plain").await?;
    ensure!(site.has("plain").await?);

    site.proxy.set(Odds { refused: ALWAYS, ..Odds::default() });
    let mut codes = BTreeSet::new();
    for number in 0..40 {
        match site.create(&format!("refused-{number}")).await {
            Err(kube::Error::Api(status)) => _ = codes.insert(status.code),
            other => anyhow::bail!("{other:?}"),
        }
        ensure!(!site.has(&format!("refused-{number}")).await?, "it was passed on");
    }
    assert_eq!(codes, BTreeSet::from([409, 429, 500, 503]));

    site.proxy.set(Odds { lost: ALWAYS, ..Odds::default() });
    let lost = site.create("lost").await;
    ensure!(!matches!(lost, Ok(_) | Err(kube::Error::Api(_))), "{lost:?}");
    ensure!(site.has("lost").await?, "it was not passed on");

    site.proxy.set(Odds { masked: ALWAYS, ..Odds::default() });
    let Err(kube::Error::Api(masked)) = site.create("masked").await else { anyhow::bail!("not masked") };
    ensure!([500, 504].contains(&masked.code), "{masked:?}");
    ensure!(site.has("masked").await?, "it was not passed on");

    site.proxy.set(Odds { cut_short: ALWAYS, ..Odds::default() });
    let half = site.api().list(&ListParams::default()).await;
    ensure!(!matches!(half, Ok(_) | Err(kube::Error::Api(_))), "{half:?}");

    site.proxy.set(Odds { late: ALWAYS, ..Odds::default() });
    site.create("late").await?;
    let counts = site.proxy.counts();
    let expected = [("cut short", 1), ("late", 1), ("lost", 1), ("masked", 1), ("refused", 40)];
    assert_eq!(Vec::from_iter(counts), expected);
    Ok(())
}

#[tokio::test]
async fn watches_end_one_way_or_another_and_all_at_once() -> Result<()> {
    let site = Site::new().await?;
    let params = WatchParams::default().timeout(200);
    let mut whole = site.api().watch(&params, "0").await?.boxed();
    site.create("seen").await?;
    let mut news =
        whole.by_ref().try_filter(|event| std::future::ready(!matches!(event, WatchEvent::Bookmark(_))));
    let delivered = timeout(SOON, news.try_next()).await?;
    ensure!(matches!(&delivered, Ok(Some(WatchEvent::Added(_)))), "{delivered:?}");
    site.proxy.end_watches();
    timeout(SOON, async { while let Some(Ok(_)) = whole.next().await {} }).await?;

    site.proxy.set(Odds { watch_ends: ALWAYS, ..Odds::default() });
    let mut expired = false;
    for _ in 0..12 {
        let mut watch = site.api().watch(&params, "0").await?.boxed();
        let ends = async {
            while let Some(event) = watch.next().await {
                match event {
                    Ok(WatchEvent::Error(error)) if error.code == 410 => expired = true,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        };
        timeout(SOON, ends).await.context("a watch that was to end")?;
    }
    ensure!(expired, "no watch has expired");
    Ok(())
}

#[tokio::test]
async fn etcd_tells_all_that_was_written_in_order() -> Result<()> {
    let site = Site::new().await?;
    let begin = site.plane.etcd().revision().await? + 1;
    let created = site.create("one").await?;
    site.create("two").await?;
    site.api().delete("one", &DeleteParams::default()).await?;
    // Also what was written before etcd died.
    site.plane.stop_etcd()?;
    site.plane.start_etcd().await?;

    let history = site.plane.etcd().history(begin, &["configmaps/default/"]).await?;
    let told: Vec<_> = history
        .iter()
        .map(|written| {
            (written.key.as_str(), written.object.as_ref().map(|object| &object["metadata"]["name"]))
        })
        .collect();
    let [one, two] = ["one", "two"].map(serde_json::Value::from);
    let expected = [
        ("configmaps/default/one", Some(&one)),
        ("configmaps/default/two", Some(&two)),
        ("configmaps/default/one", None),
    ];
    assert_eq!(told, expected);
    let version = created.metadata.resource_version.context("no version")?;
    assert_eq!(history.first().context("nothing")?.revision.to_string(), version);
    Ok(())
}
