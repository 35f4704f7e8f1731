//! A double of the part of ingress-nginx's admission webhook that matters to a controller: it tolerates a host and
//! path in one Ingress of a class only.
//!
//! After `checkOverlap` of ingress-nginx 1.15: host and path are compared as they are written, the path's type is
//! ignored, and all namespaces of the class count. Unlike the real one it asks the API server each time instead of a
//! cache of its own, so it never lags behind.

use crate::control_plane::ControlPlane;
use crate::webhook_registration::register;
use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use tokio_rustls::server::TlsStream;

/// The webhook, served until it is dropped. Its registration stays: the control plane ends with it.
pub struct DuplicateWebhook(JoinHandle<()>);

impl DuplicateWebhook {
    /// Serves the webhook and has the API server ask it about every Ingress that is created or changed.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://127.0.0.1:{}/", listener.local_addr()?.port());
        let listener = Tls { listener, acceptor: acceptor(plane)? };
        let router = Router::new().route("/", post(review)).with_state(plane.client()?);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the webhook stopped: {error}");
            }
        });
        let webhook = Self(server);
        let authority = std::fs::read(plane.dir().join("authority.crt"))?;
        register(&plane.client()?, &url, &authority).await?;
        Ok(webhook)
    }
}

impl Drop for DuplicateWebhook {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn review(State(client): State<Client>, Json(review): Json<Value>) -> Json<Value> {
    let verdict = match overlap(client, &review["request"]["object"]).await {
        Ok(None) => json!({ "allowed": true }),
        Ok(Some(message)) => json!({ "allowed": false, "status": { "code": 400, "message": message } }),
        Err(error) => json!({ "allowed": false, "status": { "code": 500, "message": format!("{error:#}") } }),
    };
    let mut response = verdict;
    response["uid"] = review["request"]["uid"].clone();
    Json(json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
}

/// What is wrong with `object`: a host and path that another Ingress of its class has.
async fn overlap(client: Client, object: &Value) -> Result<Option<String>> {
    let new: Ingress = serde_json::from_value(object.clone())?;
    let others = Api::<Ingress>::all(client).list(&ListParams::default()).await?;
    let is_same =
        |other: &&Ingress| other.namespace() == new.namespace() && other.name_any() == new.name_any();
    let class = |ingress: &Ingress| ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.clone());
    let rivals = others.items.iter().filter(|other| !is_same(other) && class(other) == class(&new));
    let wanted = paths(&new);
    for rival in rivals {
        if let Some((host, path)) = paths(rival).into_iter().find(|place| wanted.contains(place)) {
            let name = format!("{}/{}", rival.namespace().unwrap_or_default(), rival.name_any());
            return Ok(Some(format!("host {host:?} and path {path:?} is already defined in ingress {name}")));
        }
    }
    Ok(None)
}

fn paths(ingress: &Ingress) -> Vec<(String, String)> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let places = rules.flat_map(|rule| {
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        paths.map(|path| (rule.host.clone().unwrap_or_default(), path.path.clone().unwrap_or_default()))
    });
    places.collect()
}

fn acceptor(plane: &ControlPlane) -> Result<TlsAcceptor> {
    let certificate =
        CertificateDer::from_pem_file(plane.dir().join("server.crt")).context("read the certificate")?;
    let key = PrivateKeyDer::from_pem_file(plane.dir().join("server.key")).context("read the key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that fails its handshake is no reason to stop listening.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
