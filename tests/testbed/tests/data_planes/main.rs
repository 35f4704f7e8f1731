//! Both data planes do what end-to-end tests rely on, in a private network with a control plane of their own.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4},
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use axum::{Router, extract::Request, http::StatusCode, routing::any};
use ingress_sso_testbed::{
    apply::apply,
    builders::{IngressBuilder, external_name_service, ingress, namespace, service_to},
    control_plane::ControlPlane,
    dns::Dns,
    http::{self, Response},
    ingress_nginx::{self, IngressNginx},
    network::{self, Network},
    prepare,
    skip::skip,
    traefik::{self, Traefik},
    wait::eventually,
};
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use libtest_mimic::{Arguments, Trial};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    runtime::Runtime,
    sync::Mutex,
};

const SOON: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "apps";
const APP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 201, 3, 7), 8080);
/// Shows pages in place of errors with 200, and else has nothing.
const PAGES: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 201, 3, 9), 8080);
/// Answers a request for authentication with 401, or 200 where the path ends in `open`.
const GATE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 201, 3, 8), 9000);

fn main() -> Result<ExitCode> {
    let network = network::enter(prepare::all)?;
    let arguments = Arguments::from_args();
    let stage = match network {
        _ if arguments.list => None,
        Network::Inside => Some(Arc::new(Stage::start()?)),
        Network::Unavailable(reason) => {
            skip("the tests of the data planes", &reason)?;
            None
        }
    };
    let stage = stage.as_ref();
    let trials = vec![
        trial(stage, "nginx_serves_http_and_https", |scene| Box::pin(nginx_serves_http_and_https(scene))),
        trial(stage, "traefik_serves_http_and_https", |scene| Box::pin(traefik_serves_http_and_https(scene))),
        trial(stage, "traefik_serves_for_nginx", |scene| Box::pin(traefik_serves_for_nginx(scene))),
        trial(stage, "webhook_rejects_a_duplicate", |scene| Box::pin(webhook_rejects_a_duplicate(scene))),
        trial(stage, "middlewares_are_checked", |scene| Box::pin(middlewares_are_checked(scene))),
        trial(stage, "definitions_come_and_go", |_| Box::pin(definitions_come_and_go())),
        trial(stage, "nginx_asks_before_it_serves", |scene| Box::pin(nginx_asks_before_it_serves(scene))),
        trial(stage, "traefik_asks_before_it_serves", |scene| Box::pin(traefik_asks_before_it_serves(scene))),
        trial(stage, "external_names_resolve", |scene| Box::pin(external_names_resolve(scene))),
        trial(stage, "nginx_takes_new_settings", |scene| Box::pin(nginx_takes_new_settings(scene))),
        trial(stage, "a_page_of_errors_can_take_the_place_of_a_check", |scene| {
            Box::pin(a_page_of_errors_can_take_the_place_of_a_check(scene))
        }),
        trial(stage, "names_and_nothing_outside", |scene| Box::pin(names_and_nothing_outside(scene))),
    ];
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

type Test = fn(&Scene) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;

/// A test on the stage, or one that is left out without it.
fn trial(stage: Option<&Arc<Stage>>, name: &str, test: Test) -> Trial {
    let ignored = stage.is_none();
    let stage = stage.cloned();
    let run = move || {
        let stage = stage.ok_or("there is no private network")?;
        stage.runtime.block_on(test(&stage.scene)).map_err(|error| format!("{error:#}").into())
    };
    Trial::test(name, run).with_ignored_flag(ignored)
}

/// The scene, and the runtime that its tasks and connections belong to.
struct Stage {
    scene: Scene,
    runtime: Runtime,
}

impl Stage {
    fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let scene = runtime.block_on(Scene::start())?;
        Ok(Self { scene, runtime })
    }
}

struct Scene {
    client: Client,
    dns: Dns,
    nginx: IngressNginx,
    /// Held by whoever changes nginx's settings.
    settings: Mutex<()>,
    _traefik: Traefik,
    _plane: ControlPlane,
}

impl Scene {
    async fn start() -> Result<Self> {
        let start = Instant::now();
        let plane = ControlPlane::start().await?;
        eprintln!("control plane ready after {} ms", start.elapsed().as_millis());
        let dns = Dns::start().await?;
        dns.set("*.nginx.test", network::NGINX);
        dns.set("backend.apps.svc.cluster.local", *APP.ip());
        dns.set("gate.apps.svc.cluster.local", *GATE.ip());
        serve(APP, |request| (StatusCode::OK, request.uri().path().to_owned())).await?;
        let gate = |request: &Request| {
            let open = request.uri().path().ends_with("open");
            (if open { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, String::new())
        };
        serve(GATE, gate).await?;
        let client = plane.client()?;
        apply(&Api::<Namespace>::all(client.clone()), &namespace(NAMESPACE)).await?;
        let pages = |request: &Request| {
            let is_error = request.headers().contains_key("x-code");
            (if is_error { StatusCode::OK } else { StatusCode::NOT_FOUND }, "a page".to_owned())
        };
        serve(PAGES, pages).await?;
        for (name, address) in [("app", APP), ("gate", GATE), ("pages", PAGES)] {
            let (service, slice) = service_to(NAMESPACE, name, address);
            apply(&Api::<Service>::namespaced(client.clone(), NAMESPACE), &service).await?;
            apply(&Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE), &slice).await?;
        }

        let start = Instant::now();
        let arguments = vec![format!("--default-backend-service={NAMESPACE}/pages")];
        let options = ingress_nginx::Options { arguments, ..Default::default() };
        let nginx = IngressNginx::start(&plane, &options).await?;
        eprintln!("ingress-nginx started after {} ms", start.elapsed().as_millis());
        let options = traefik::Options { allow_external_name_services: true, ..Default::default() };
        let traefik = Traefik::start(&plane, &options).await?;
        traefik.wait_ready().await?;
        eprintln!("Traefik ready after {} ms", start.elapsed().as_millis());
        nginx.wait_ready().await?;
        eprintln!("ingress-nginx ready after {} ms", start.elapsed().as_millis());
        Ok(Self { client, dns, nginx, settings: Mutex::default(), _traefik: traefik, _plane: plane })
    }

    fn ingresses(&self) -> Api<Ingress> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn create(&self, ingress: IngressBuilder) -> Result<()> {
        self.ingresses().create(&PostParams::default(), &ingress.build()).await?;
        Ok(())
    }

    async fn create_external_name(&self, name: &str) -> Result<()> {
        let service = external_name_service(NAMESPACE, name, "backend.apps.svc.cluster.local", 8080);
        let services: Api<Service> = Api::namespaced(self.client.clone(), NAMESPACE);
        services.create(&PostParams::default(), &service).await?;
        Ok(())
    }
}

/// Serves `answer` for as long as the runtime lives.
async fn serve<F>(address: SocketAddrV4, answer: F) -> Result<()>
where
    F: Fn(&Request) -> (StatusCode, String) + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let app = Router::new().fallback(any(move |request: Request| async move { answer(&request) }));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

/// Asks until the answer has this status: changes take a moment to reach a data plane.
async fn until<F, Fut>(status: u16, ask: F) -> Result<Response>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Response>>,
{
    eventually(format!("an answer with status {status}"), SOON, || async {
        let answer = ask().await?;
        ensure!(answer.status == status, "{answer:?}");
        Ok(Some(answer))
    })
    .await
}

/// `GET http://<host><path>` from whoever listens on port 80 of `address`.
async fn http(address: Ipv4Addr, host: &str, path: &str) -> Result<Response> {
    http::Request::get(path).header("Host", host).send((address, 80).into()).await
}

/// `GET https://<host><path>` from whoever listens on port 443 of `address`, whatever its certificate.
async fn https(address: Ipv4Addr, host: &str, path: &str) -> Result<Response> {
    http::Request::get(path).header("Host", host).send_tls((address, 443).into(), host).await
}

async fn nginx_serves_http_and_https(scene: &Scene) -> Result<()> {
    let host = "app.nginx.test";
    scene.create(ingress(NAMESPACE, "nginx").host(host).backend("app", 80)).await?;
    let answer = until(200, || http(network::NGINX, host, "/some/path")).await?;
    ensure!(answer.text() == "/some/path", "{answer:?}");
    let answer = until(200, || https(network::NGINX, host, "/secret")).await?;
    ensure!(answer.text() == "/secret", "{answer:?}");
    ensure!(scene.nginx.configuration()?.contains("server_name app.nginx.test"), "its configuration");
    Ok(())
}

async fn traefik_serves_http_and_https(scene: &Scene) -> Result<()> {
    let host = "app.traefik.test";
    let app = ingress(NAMESPACE, "traefik").class(traefik::CLASS).host(host).backend("app", 80);
    scene.create(app).await?;
    until(200, || http(network::TRAEFIK, host, "/")).await?;
    let answer = until(200, || https(network::TRAEFIK, host, "/secret")).await?;
    ensure!(answer.text() == "/secret", "{answer:?}");
    Ok(())
}

async fn traefik_serves_for_nginx(scene: &Scene) -> Result<()> {
    let host = "app.migration.test";
    let app = ingress(NAMESPACE, "migration").class(traefik::NGINX_CLASS).host(host).backend("app", 80);
    let app = app
        .annotation("nginx.ingress.kubernetes.io/auth-url", "http://gate.apps.svc.cluster.local:9000/closed");
    scene.create(app).await?;
    until(401, || http(network::TRAEFIK, host, "/")).await?;
    let app = ingress(NAMESPACE, "migration-open").class(traefik::NGINX_CLASS);
    scene.create(app.host("open.migration.test").backend("app", 80)).await?;
    until(200, || http(network::TRAEFIK, "open.migration.test", "/")).await?;
    Ok(())
}

async fn webhook_rejects_a_duplicate(scene: &Scene) -> Result<()> {
    let twin = |name| ingress(NAMESPACE, name).host("twin.nginx.test").backend("app", 80);
    scene.create(twin("first")).await?;
    // The controller has to see the first one: it looks at a cache of its own.
    let message = eventually("a rejection", SOON, || async {
        if let Err(error) = scene.create(twin("second")).await {
            return Ok(Some(format!("{error:#}")));
        }
        scene.ingresses().delete("second", &DeleteParams::default()).await?;
        bail!("it was accepted")
    })
    .await?;
    let expected = r#"host "twin.nginx.test" and path "/" is already defined in ingress apps/first"#;
    ensure!(message.contains(expected), "{message}");
    Ok(())
}

async fn middlewares_are_checked(scene: &Scene) -> Result<()> {
    let middlewares = middlewares(scene.client.clone());
    let create = async |name: &str, spec| {
        let mut object = DynamicObject::new(name, &middleware_resource());
        object.data = json!({ "spec": spec });
        middlewares.create(&PostParams::default(), &object).await
    };
    create(
        "gate",
        json!({ "forwardAuth": { "address": "http://gate/", "authResponseHeaders": ["X-User"] } }),
    )
    .await?;
    let nonsense = json!({ "forwardAuth": { "authResponseHeaders": "not a list" } });
    let Err(error) = create("nonsense", nonsense).await else { bail!("nonsense was accepted") };
    ensure!(error.to_string().contains("spec.forwardAuth.authResponseHeaders"), "{error}");
    Ok(())
}

async fn definitions_come_and_go() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let middlewares = middlewares(plane.client()?);
    let list = async || middlewares.list(&ListParams::default()).await;
    ensure!(list().await.is_err(), "a kind that nobody installed");
    traefik::install_crds(&plane).await?;
    eventually("the kind to be served", SOON, || async { Ok(Some(list().await?)) }).await?;
    traefik::remove_crds(&plane).await?;
    eventually("the kind to be gone", SOON, || async { Ok(list().await.is_err().then_some(())) }).await
}

async fn nginx_asks_before_it_serves(scene: &Scene) -> Result<()> {
    let gate = "http://gate.apps.svc.cluster.local:9000";
    let app = |name: &str, path: &str| {
        ingress(NAMESPACE, name)
            .host(&format!("{name}.nginx.test"))
            .backend("app", 80)
            .annotation("nginx.ingress.kubernetes.io/auth-url", &format!("{gate}/{path}"))
            .annotation("nginx.ingress.kubernetes.io/auth-signin", "https://$host/login")
    };
    scene.create(app("guarded", "closed")).await?;
    scene.create(app("admitted", "open")).await?;
    let answer = until(302, || http(network::NGINX, "guarded.nginx.test", "/deep?a=1")).await?;
    let location = answer.header("location").unwrap_or_default();
    let expected = "https://guarded.nginx.test/login?rd=http://guarded.nginx.test%2Fdeep%3Fa%3D1";
    ensure!(location == expected, "{location}");
    until(200, || http(network::NGINX, "admitted.nginx.test", "/")).await?;
    Ok(())
}

async fn traefik_asks_before_it_serves(scene: &Scene) -> Result<()> {
    let mut middleware = DynamicObject::new("closed", &middleware_resource());
    middleware.data = json!({ "spec": { "forwardAuth": { "address": format!("http://{GATE}/closed") } } });
    middlewares(scene.client.clone()).create(&PostParams::default(), &middleware).await?;
    let host = "guarded.traefik.test";
    let app = ingress(NAMESPACE, "traefik-guarded").class(traefik::CLASS).host(host).backend("app", 80);
    let chain = "traefik.ingress.kubernetes.io/router.middlewares";
    scene.create(app.annotation(chain, "apps-closed@kubernetescrd")).await?;
    until(401, || http(network::TRAEFIK, host, "/")).await?;
    Ok(())
}

async fn external_names_resolve(scene: &Scene) -> Result<()> {
    scene.create_external_name("elsewhere").await?;
    for (class, host, address) in [
        ("nginx", "external.nginx.test", network::NGINX),
        (traefik::CLASS, "external.traefik.test", network::TRAEFIK),
        (traefik::NGINX_CLASS, "external.migration.test", network::TRAEFIK),
    ] {
        let app = ingress(NAMESPACE, &format!("external-{class}")).class(class);
        scene.create(app.host(host).backend("elsewhere", 8080)).await?;
        until(200, || http(address, host, "/")).await.with_context(|| format!("class {class}"))?;
    }
    Ok(())
}

async fn nginx_takes_new_settings(scene: &Scene) -> Result<()> {
    let host = "settings.nginx.test";
    scene.create(ingress(NAMESPACE, "settings").host(host).backend("app", 80)).await?;
    let _settings = scene.settings.lock().await;
    until(200, || http(network::NGINX, host, "/teapot")).await?;
    let reloads = scene.nginx.reloads()?;
    let snippet = "if ($request_uri = /teapot) { return 418; }";
    scene.nginx.set_config(&BTreeMap::from([("server-snippet".to_owned(), snippet.to_owned())])).await?;
    until(418, || http(network::NGINX, host, "/teapot")).await?;
    ensure!(scene.nginx.reloads()? > reloads, "{}", scene.nginx.logs()?);
    scene.nginx.set_config(&BTreeMap::new()).await?;
    until(200, || http(network::NGINX, host, "/teapot")).await?;
    Ok(())
}

/// Where the check of an app goes through a route of nginx's own, unless that has a list of errors for itself.
async fn a_page_of_errors_can_take_the_place_of_a_check(scene: &Scene) -> Result<()> {
    let app = |name: &str| {
        ingress(NAMESPACE, name)
            .host(&format!("{name}.nginx.test"))
            .backend("app", 80)
            .annotation(
                "nginx.ingress.kubernetes.io/auth-url",
                &format!("http://{name}.nginx.test/gate/closed"),
            )
            .annotation("nginx.ingress.kubernetes.io/auth-signin", "https://$host/login")
    };
    let route = |name: &str| {
        let route = ingress(NAMESPACE, &format!("{name}-gate")).host(&format!("{name}.nginx.test"));
        route.path("/gate", "Prefix").backend("gate", 80)
    };
    scene.create(route("paged")).await?;
    scene.create(app("paged")).await?;
    let ask = async |host: &str| http(network::NGINX, host, "/secret").await;
    until(302, || ask("paged.nginx.test")).await?;

    let _settings = scene.settings.lock().await;
    scene.nginx.set_config(&BTreeMap::from([("custom-http-errors".to_owned(), "401".to_owned())])).await?;
    let open = until(200, || ask("paged.nginx.test")).await?;
    ensure!(open.text() == "/secret", "{open:?}");
    scene.nginx.set_config(&BTreeMap::new()).await?;
    until(302, || ask("paged.nginx.test")).await?;
    Ok(())
}

async fn names_and_nothing_outside(scene: &Scene) -> Result<()> {
    let look = async |name: &str| lookup_host((name, 80)).await.map(Iterator::collect::<Vec<_>>);
    ensure!(look("any.nginx.test").await? == [(network::NGINX, 80).into()], "by the wildcard");
    scene.dns.set("any.nginx.test", network::TRAEFIK);
    ensure!(look("any.nginx.test").await? == [(network::TRAEFIK, 80).into()], "by its own entry");
    scene.dns.remove("any.nginx.test");
    ensure!(look("any.nginx.test").await? == [(network::NGINX, 80).into()], "by the wildcard again");
    // There are answers, so that nobody waits for them in vain.
    let Err(unknown) = look("unknown.example").await else { bail!("a name that nobody set") };
    ensure!(unknown.to_string().contains("not known"), "the DNS server did not say so: {unknown}");
    let Err(outside) = TcpStream::connect("192.0.2.1:80").await else { bail!("an address outside") };
    let is_answered = matches!(outside.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable);
    ensure!(is_answered, "the way outside did not end at once: {outside}");
    Ok(())
}

fn middlewares(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, NAMESPACE, &middleware_resource())
}

fn middleware_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("traefik.io", "v1alpha1", "Middleware"))
}
