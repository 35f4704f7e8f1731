//! What an app can be waiting for.

use crate::facts::{Host, ObjectKey};
use thiserror::Error;

/// Something that will come by itself, and what it is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Waiting {
    /// The watch of `IngressClasses` has not delivered yet.
    #[error(
        "the IngressClasses are not known yet: check that the controller may list and watch ingressclasses"
    )]
    ForClasses,
    /// The watch of outposts has not delivered yet.
    #[error(
        "the outposts of this cluster are not known yet: check that the controller may list and watch services, or give \
         the outpost with --outpost NAME=URL"
    )]
    ForOutposts,
    /// The watch of Middlewares has not delivered yet, so a name that is taken twice would not be noticed.
    #[error(
        "Traefik's Middlewares are not known yet: check that the controller may list and watch middlewares.traefik.io"
    )]
    ForMiddlewares,
    /// Another app claimed the host first, and its route does not stand yet.
    #[error(
        "the login route of {host} is to be made for app {holder}, which claimed the host first, and is not there yet"
    )]
    ForRoute {
        /// The host.
        host: Host,
        /// Ingress of the app that claimed it.
        holder: ObjectKey,
    },
}
