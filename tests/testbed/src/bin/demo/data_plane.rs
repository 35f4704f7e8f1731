//! The ingress controller that the demo's requests go through.

use anyhow::Result;
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::ingress_nginx::{self, IngressNginx};
use ingress_sso_testbed::network;
use ingress_sso_testbed::traefik::{self, Traefik};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Lines of a log that help after a failure.
const TAIL: usize = 30;

/// Which ingress controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataPlane {
    Nginx,
    Traefik,
}

impl DataPlane {
    /// The one that this machine has.
    pub(crate) fn at_hand() -> Self {
        if ingress_nginx::prepare().is_ok() { Self::Nginx } else { Self::Traefik }
    }

    /// The class that it serves.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Traefik => traefik::CLASS,
        }
    }

    /// Where it listens.
    pub(crate) fn address(self) -> Ipv4Addr {
        match self {
            Self::Nginx => network::NGINX,
            Self::Traefik => network::TRAEFIK,
        }
    }

    /// What the admin tells the controller about it.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["--nginx-rejects-dot-segments"],
            Self::Traefik => &["--traefik-allows-external-name"],
        }
    }
}

impl fmt::Display for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "ingress-nginx",
            Self::Traefik => "Traefik",
        })
    }
}

impl FromStr for DataPlane {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "nginx" => Ok(Self::Nginx),
            "traefik" => Ok(Self::Traefik),
            _ => anyhow::bail!("there is no data plane {name:?}: say nginx or traefik"),
        }
    }
}

/// A running ingress controller. It ends when it is dropped.
pub(crate) enum Running {
    Nginx(IngressNginx),
    Traefik(Traefik),
}

impl Running {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(kind: DataPlane, plane: &ControlPlane) -> Result<Self> {
        match kind {
            DataPlane::Nginx => {
                let config = ingress_nginx::admins_lines()?;
                let options = ingress_nginx::Options { config, ..Default::default() };
                let nginx = IngressNginx::start(plane, &options).await?;
                nginx.wait_ready().await?;
                Ok(Self::Nginx(nginx))
            }
            DataPlane::Traefik => {
                let options = traefik::Options { allow_external_name_services: true, ..Default::default() };
                let traefik = Traefik::start(plane, &options).await?;
                traefik.wait_ready().await?;
                Ok(Self::Traefik(traefik))
            }
        }
    }

    /// The last that it had to say.
    pub(crate) fn end_of_log(&self) -> Result<String> {
        let logs = match self {
            Self::Nginx(nginx) => nginx.logs()?,
            Self::Traefik(traefik) => traefik.logs()?,
        };
        let lines: Vec<&str> = logs.lines().collect();
        Ok(lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }
}
