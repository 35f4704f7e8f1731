//! The ways on which an app is protected.

use ingress_sso_testbed::{network, traefik};
use std::fmt;
use std::net::Ipv4Addr;

/// A data plane with a route for its auth check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// ingress-nginx, asking through the app's own host.
    NginxHost,
    /// ingress-nginx, asking the outpost itself.
    NginxDirect,
    /// Traefik in place of ingress-nginx.
    TraefikNginx,
    /// Traefik by its own annotations, with the outpost path routed.
    Traefik,
}

impl Lane {
    pub(crate) const ALL: [Self; 4] = [Self::NginxHost, Self::NginxDirect, Self::TraefikNginx, Self::Traefik];

    /// Whether nginx serves it.
    pub(crate) fn is_nginx(self) -> bool {
        matches!(self, Self::NginxHost | Self::NginxDirect)
    }

    /// Name of its class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::NginxHost | Self::NginxDirect => "nginx",
            Self::TraefikNginx => traefik::NGINX_CLASS,
            Self::Traefik => traefik::CLASS,
        }
    }

    /// Where its data plane listens.
    pub(crate) fn address(self) -> Ipv4Addr {
        if self.is_nginx() { network::NGINX } else { network::TRAEFIK }
    }

    /// What the admin tells the controller about it.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::NginxHost => &["--nginx-rejects-dot-segments"],
            Self::NginxDirect => &["--nginx-rejects-dot-segments", "--auth-route", "direct"],
            Self::TraefikNginx => &[],
            Self::Traefik => &["--traefik-allows-external-name"],
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NginxHost => "nginx-host",
            Self::NginxDirect => "nginx-direct",
            Self::TraefikNginx => "traefik-nginx",
            Self::Traefik => "traefik",
        })
    }
}
