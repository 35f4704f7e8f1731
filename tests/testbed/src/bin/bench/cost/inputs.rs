//! What one more Ingress, opt-in, edit or watched namespace costs: the differences of what was measured.

use super::{Scoped, Size};
use crate::results::Cost;
use crate::stats::count;
use serde::{Deserialize, Serialize};

/// See the module's documentation. Bytes, CPU seconds and seconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Inputs {
    /// What there is without any Ingress.
    pub(crate) fixed: Share,
    /// One Ingress that is not opted in.
    pub(crate) ingress: Share,
    /// What protecting one adds to that.
    pub(crate) protection: Share,
    /// One namespace in the scope of an instance that has a list of them, with nothing in it.
    pub(crate) namespace: Share,
    /// CPU seconds of the API server for a watch that ends and begins anew.
    pub(crate) renewal_cpu: f64,
    pub(crate) opt_in: Change,
    pub(crate) opt_out: Change,
    /// A user's change to an Ingress that is not opted in.
    pub(crate) edit: Change,
}

/// What something costs as long as it is there, and at each start of the controller.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Share {
    pub(crate) etcd: f64,
    /// On the API server's heap.
    pub(crate) heap: f64,
    /// Resident memory of the controller, and the most it ever was.
    pub(crate) controller: f64,
    pub(crate) controller_peak: f64,
    /// Bytes that a start of the controller is sent.
    pub(crate) received: f64,
    /// Until the controller is ready.
    pub(crate) seconds: f64,
    pub(crate) api_server_cpu: f64,
    pub(crate) controller_cpu: f64,
}

/// What something costs once.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Change {
    pub(crate) watch_events: f64,
    pub(crate) watch_bytes: f64,
    /// The user's own request included.
    pub(crate) api_server_cpu: f64,
    pub(crate) etcd_cpu: f64,
    pub(crate) controller_cpu: f64,
    /// In etcd, until that forgets what was overwritten.
    pub(crate) history: f64,
    pub(crate) kubernetes_events: f64,
}

impl Inputs {
    /// Of the first two sizes, or nothing while there are not two.
    pub(crate) fn of(cost: &Cost) -> Option<Self> {
        let [small, large, ..] = cost.sizes.as_slice() else { return None };
        let [few, many, ..] = cost.scoped.as_slice() else { return None };
        let pair = Pair { small, large };
        let ingress = pair.ingress();
        let protection = pair.protection();
        let fixed = pair.fixed(&ingress);
        Some(Self {
            fixed,
            ingress,
            protection,
            namespace: namespace(few, many),
            renewal_cpu: cost.renewal_cpu,
            opt_in: pair.opt_in(&ingress),
            opt_out: pair.change(|size| &size.opted_out),
            edit: pair.change(|size| &size.edited),
        })
    }
}

struct Pair<'a> {
    small: &'a Size,
    large: &'a Size,
}

impl Pair<'_> {
    fn an_ingress(&self, value: impl Fn(&Size) -> f64) -> f64 {
        (value(self.large) - value(self.small)) / (count(self.large.ingresses) - count(self.small.ingresses))
    }

    fn an_app(&self, value: impl Fn(&Size) -> f64) -> f64 {
        (value(self.large) - value(self.small)) / (count(self.large.apps) - count(self.small.apps))
    }

    fn ingress(&self) -> Share {
        Share {
            etcd: self.an_ingress(|size| size.created.held.etcd),
            heap: self.an_ingress(|size| size.created.held.heap),
            controller: self.an_ingress(|size| size.beside.controller.resident),
            controller_peak: self.an_ingress(|size| size.beside.controller.peak),
            received: self.an_ingress(|size| size.beside.received),
            seconds: self.an_ingress(|size| size.beside.seconds),
            api_server_cpu: self.an_ingress(|size| size.beside.spent.api_server),
            controller_cpu: self.an_ingress(|size| size.beside.controller.cpu_seconds),
        }
    }

    /// The start beside everything in place, less that beside bystanders only.
    fn protection(&self) -> Share {
        Share {
            etcd: self.an_app(|size| size.protected.held.etcd - size.created.held.etcd),
            heap: self.an_app(|size| size.protected.held.heap - size.created.held.heap),
            controller: self
                .an_app(|size| size.restarted.controller.resident - size.beside.controller.resident),
            controller_peak: self.an_app(|size| size.restarted.controller.peak - size.beside.controller.peak),
            received: self.an_app(|size| size.restarted.received - size.beside.received),
            seconds: self.an_app(|size| size.restarted.seconds - size.beside.seconds),
            api_server_cpu: self
                .an_app(|size| size.restarted.spent.api_server - size.beside.spent.api_server),
            controller_cpu: self
                .an_app(|size| size.restarted.controller.cpu_seconds - size.beside.controller.cpu_seconds),
        }
    }

    fn fixed(&self, ingress: &Share) -> Share {
        let small = self.small;
        // Less than nothing is noise.
        let rest = |value: f64, each: f64| (value - each * count(small.ingresses)).max(0.0);
        Share {
            etcd: rest(small.created.held.etcd, ingress.etcd),
            heap: rest(small.created.held.heap, ingress.heap),
            controller: rest(small.beside.controller.resident, ingress.controller),
            controller_peak: rest(small.beside.controller.peak, ingress.controller_peak),
            received: rest(small.beside.received, ingress.received),
            seconds: rest(small.beside.seconds, ingress.seconds),
            api_server_cpu: rest(small.beside.spent.api_server, ingress.api_server_cpu),
            controller_cpu: rest(small.beside.controller.cpu_seconds, ingress.controller_cpu),
        }
    }

    fn change(&self, stage: impl Fn(&Size) -> &super::Stage) -> Change {
        Change {
            watch_events: self.an_app(|size| stage(size).watched.events),
            watch_bytes: self.an_app(|size| stage(size).watched.bytes),
            api_server_cpu: self.an_app(|size| stage(size).spent.api_server),
            etcd_cpu: self.an_app(|size| stage(size).spent.etcd),
            controller_cpu: self.an_app(|size| stage(size).controller.cpu_seconds),
            history: self.an_app(|size| stage(size).held.history),
            kubernetes_events: self.an_app(|size| {
                let events = stage(size).writes.iter().filter(|(kind, _)| *kind == "POST events");
                events.map(|(_, number)| count(*number)).sum()
            }),
        }
    }

    /// The user's request and what the controller made of it, less the list with which the controller began.
    fn opt_in(&self, ingress: &Share) -> Change {
        let asked = self.change(|size| &size.asked);
        let made = self.change(|size| &size.protected);
        let ingresses_an_app = self.an_app(|size| count(size.ingresses));
        Change {
            watch_events: asked.watch_events + made.watch_events,
            watch_bytes: asked.watch_bytes + made.watch_bytes,
            api_server_cpu: asked.api_server_cpu + made.api_server_cpu
                - ingress.api_server_cpu * ingresses_an_app,
            etcd_cpu: asked.etcd_cpu + made.etcd_cpu,
            controller_cpu: made.controller_cpu - ingress.controller_cpu * ingresses_an_app,
            history: asked.history + made.history,
            kubernetes_events: made.kubernetes_events,
        }
    }
}

fn namespace(few: &Scoped, many: &Scoped) -> Share {
    let each = |value: fn(&Scoped) -> f64| {
        (value(many) - value(few)) / (count(many.namespaces) - count(few.namespaces))
    };
    Share {
        etcd: 0.0,
        heap: each(|scoped| scoped.held.heap),
        controller: each(|scoped| scoped.start.controller.resident),
        controller_peak: each(|scoped| scoped.start.controller.peak),
        received: each(|scoped| scoped.start.received),
        seconds: each(|scoped| scoped.start.seconds),
        api_server_cpu: each(|scoped| scoped.start.spent.api_server),
        controller_cpu: each(|scoped| scoped.start.controller.cpu_seconds),
    }
}
