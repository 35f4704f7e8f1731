//! Real parts for the tests of `ingress-sso`: a Kubernetes control plane, ingress-nginx, Traefik, kubectl, Helm,
//! the controller itself.
//!
//! A test of a controller against a fake API server tests the fake. This crate runs the real servers
//! instead, as child processes without root, without containers and without a cluster, ready in about two
//! seconds.
//!
//! | module            | its one idea                                                                  |
//! |-------------------|-------------------------------------------------------------------------------|
//! | [`control_plane`] | etcd, kube-apiserver and kube-controller-manager as one value                 |
//! | [`controller`]    | the real `ingress-sso run` as a process: kill it, stop it, read its log       |
//! | [`account`]       | accounts that may do no more than is said                                     |
//! | [`admission`]     | the admission policies that the program prints                                |
//! | [`scene`]         | a namespace with the controller watching it, and short words for tests        |
//! | [`writes`]        | what was written, counted by the API server and not by those who write        |
//! | [`metrics`]       | metrics as servers print them                                                 |
//! | [`builders`]      | Ingresses, Services and others in one line                                    |
//! | [`wait`]          | waiting for a state, with an error that says what was seen instead            |
//! | [`model`]         | all that can happen in a small world, tried in every order                    |
//! | [`environment`]   | numbers in environment variables, and no other text                           |
//! | [`duplicate_webhook`] | what ingress-nginx's admission webhook rejects                            |
//! | [`outpost`]       | a strict double of authentik's proxy outpost, and of authentik at login       |
//! | [`echo`]          | the protected app: says what reached it                                       |
//! | [`fastcgi`]       | an app that speaks `FastCGI` and says which parameters reached it             |
//! | [`browser`]       | a visitor who keeps cookies and follows redirects, through a data plane       |
//! | [`record`]        | a request as it arrived at one of these                                       |
//! | [`ingress_nginx`] | the real ingress-nginx controller with a real nginx                           |
//! | [`traefik`]       | the real Traefik, native and in the place of ingress-nginx                    |
//! | [`faults`]        | a way to the API server on which requests, answers and watches go wrong       |
//! | [`relay`]         | a way to a server that can be cut                                             |
//! | [`network`]       | a private network: addresses and ports of their own, without root             |
//! | [`dns`]           | a DNS server for the names of apps and Services                               |
//! | [`skip`]          | leaving tests out loudly, and never in CI                                     |
//! | [`prepare`]       | making ahead all that comes from package registries                           |
//! | [`apply`]         | objects that are to be as they are written                                    |
//! | [`kubectl`]       | the real kubectl                                                              |
//! | [`helm`]          | the real Helm                                                                 |
//! | [`guard`]         | no child process and no temporary file outlives a test, however it ends       |
//! | [`process`]       | a child process under a guard, with its log                                   |
//! | [`assets`]        | where the three servers come from: given, or built once                       |
//! | [`cache`]         | what is made once a machine: built or installed under a lock                  |
//! | [`http`]          | HTTP/1.1 as bytes: requests that no client library would send                 |
//! | [`port`]          | ports that are free, and stay so over a restart                               |
//!
//! ```no_run
//! use ingress_sso_testbed::{builders::ingress, control_plane::ControlPlane};
//! use kube::{Api, api::PostParams};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let plane = ControlPlane::shared().await?;
//! let ingresses = Api::namespaced(plane.client()?, "default");
//! ingresses.create(&PostParams::default(), &ingress("default", "app").host("app.example.com").build()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Environment: `KUBEBUILDER_ASSETS` names a directory with the three servers (see [`assets`]);
//! `XDG_CACHE_HOME` moves the cache (see [`cache`]); `INGRESS_SSO_TESTBED_KEEP`, set to anything, keeps the
//! temporary directories with all logs (see [`guard`]).

pub mod account;
pub mod admission;
pub mod apply;
pub mod assets;
pub mod browser;
pub mod builders;
pub mod cache;
pub mod control_plane;
pub mod controller;
pub mod dns;
pub mod duplicate_webhook;
pub mod echo;
pub mod environment;
pub mod fastcgi;
pub mod faults;
mod go;
pub mod guard;
pub mod helm;
pub mod http;
pub mod ingress_nginx;
pub mod kubectl;
pub mod metrics;
pub mod model;
pub mod network;
pub mod outpost;
mod output;
pub mod port;
pub mod prepare;
pub mod process;
pub mod record;
pub mod relay;
pub mod scene;
mod server;
pub mod skip;
mod tls;
pub mod traefik;
pub mod wait;
mod webhook_registration;
pub mod writes;
