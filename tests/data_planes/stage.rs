//! What all tests share: a control plane, a DNS server, both data planes.

use anyhow::Result;
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::dns::Dns;
use ingress_sso_testbed::ingress_nginx::{self, IngressNginx};
use ingress_sso_testbed::traefik::{self, Traefik};
use libtest_mimic::Conclusion;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::OnceCell;

static STAGE: OnceCell<Stage> = OnceCell::const_new();

/// See the module's documentation. It ends with the process.
pub(crate) struct Stage {
    pub(crate) dns: Dns,
    pub(crate) nginx: IngressNginx,
    pub(crate) traefik: Traefik,
    /// Third part of the next addresses that nobody has yet.
    next: AtomicU8,
}

impl Stage {
    /// Starts everything at the first call.
    pub(crate) async fn get() -> Result<&'static Self> {
        STAGE.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self> {
        let dns = Dns::start().await?;
        let plane = ControlPlane::shared().await?;
        let config = config([])?;
        // The default since 1.12.
        let arguments = vec!["--enable-annotation-validation".to_owned()];
        let nginx = IngressNginx::start(plane, &ingress_nginx::Options { config, arguments }).await?;
        let options = traefik::Options { allow_external_name_services: true, ..Default::default() };
        let traefik = Traefik::start(plane, &options).await?;
        nginx.wait_ready().await?;
        traefik.wait_ready().await?;
        Ok(Self { dns, nginx, traefik, next: AtomicU8::new(1) })
    }

    /// A number that no other test has, for its addresses and hosts.
    pub(crate) fn number(&self) -> u8 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// One of the addresses of the test `number`.
    pub(crate) fn address(number: u8, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 201, number, last)
    }
}

/// Settings of ingress-nginx: what the documentation tells admins, and these.
pub(crate) fn config<const N: usize>(more: [(&str, &str); N]) -> Result<BTreeMap<String, String>> {
    let mut config = ingress_nginx::admins_lines()?;
    config.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    Ok(config)
}

/// After failures, shows what the data planes had to say.
pub(crate) fn tell_of_trouble(conclusion: &Conclusion) {
    let Some(stage) = STAGE.get().filter(|_| conclusion.has_failed()) else { return };
    for (name, logs) in [("ingress-nginx", stage.nginx.error_log()), ("Traefik", stage.traefik.logs())] {
        let logs = logs.unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = logs.lines().filter(|line| !line.contains("HTTP/1.1\"")).collect();
        eprintln!("\nThe end of the log of {name}:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    }
}
