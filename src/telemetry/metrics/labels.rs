//! Labels of the metrics. Each has few values: words of this program, or names of outposts.

use crate::index::{Key, Source};
use crate::plan::changes::Kind;
use crate::plan::status::State;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use std::fmt::{self, Write};

/// Declares a label with all its values, and the word for each.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

label! {
    /// What was reconciled.
    KeyKind {
        /// An app.
        App = "app",
        /// A Service that apps share.
        Service = "service",
        /// A `ConfigMap` that apps share.
        ConfigMap = "config_map",
        /// A Middleware that apps share.
        Middleware = "middleware",
    }
}

impl From<&Key> for KeyKind {
    fn from(key: &Key) -> Self {
        match key {
            Key::App(_) => Self::App,
            Key::Service(_) => Self::Service,
            Key::Headers(_) => Self::ConfigMap,
            Key::Middleware(_) => Self::Middleware,
        }
    }
}

label! {
    /// What became of it.
    Reconciled {
        /// It is as it should be.
        Done = "done",
        /// It is for now, and is looked at again by and by.
        Again = "again",
        /// Something failed.
        Failed = "failed",
    }
}

label! {
    /// What was written.
    ObjectKind {
        /// An Ingress: an app's or its route.
        Ingress = "Ingress",
        /// A Service.
        Service = "Service",
        /// A `ConfigMap`.
        ConfigMap = "ConfigMap",
        /// A Middleware.
        Middleware = "Middleware",
        /// An Event.
        Event = "Event",
    }
}

impl From<Kind> for ObjectKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ingress => Self::Ingress,
            Kind::Service => Self::Service,
            Kind::ConfigMap => Self::ConfigMap,
            Kind::Middleware => Self::Middleware,
        }
    }
}

label! {
    /// How it was written.
    Verb {
        /// By a POST.
        Create = "create",
        /// By a merge patch.
        Patch = "patch",
        /// By server-side apply.
        Apply = "apply",
        /// By a DELETE.
        Delete = "delete",
    }
}

impl ObjectKind {
    /// How objects of this kind are written.
    pub(super) fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Ingress => Verb::ALL,
            Self::Service | Self::ConfigMap | Self::Middleware => &[Verb::Create, Verb::Patch, Verb::Delete],
            Self::Event => &[Verb::Create],
        }
    }
}

label! {
    /// What the API said to it.
    Answer {
        /// It is done.
        Ok = "ok",
        /// The object is not, or no longer, as it was seen.
        Stale = "stale",
        /// No, and the same again until someone changes something.
        Rejected = "rejected",
        /// Nothing, or not now.
        Unavailable = "unavailable",
    }
}

impl EncodeLabelValue for State {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self}")
    }
}

impl EncodeLabelValue for Source {
    /// As the log names it.
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self:?}")
    }
}

/// Under which state an app counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Standing {
    /// As its annotation says it.
    pub status: State,
    /// The stable word for why.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReconcileLabels {
    pub(super) kind: KeyKind,
    pub(super) outcome: Reconciled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WriteLabels {
    pub(super) kind: ObjectKind,
    pub(super) verb: Verb,
    pub(super) outcome: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SourceLabels {
    pub(super) source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutpostLabels {
    pub(super) outpost: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProbeLabels {
    pub(super) outpost: String,
    pub(super) conclusion: &'static str,
}
