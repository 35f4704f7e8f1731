//! What a cluster costs, by the inputs. Everything grows linearly, which [`super::predictions`] holds against a cluster
//! that is larger than those the inputs are of.

use super::cluster::Cluster;
use super::inputs::{Inputs, Share};
use std::fmt;

/// Watches that an instance has however it is scoped: on classes and on outposts.
const WATCHES: f64 = 2.0;

/// Watches that it has for the whole cluster, or for each namespace in its scope: on Ingresses, Services, ConfigMaps and
/// Traefik's Middlewares.
const SCOPED_WATCHES: f64 = 4.0;

/// Watches that a namespace had when it was measured: in a cluster without Traefik's kinds there are no
/// Middlewares.
const MEASURED_WATCHES: f64 = 3.0;

/// Watches end after 290 seconds, and begin anew from where they were.
const RENEWALS_A_DAY: f64 = 86_400.0 / 290.0;

/// In that time the API server tells each watch five times how far it is: every minute, and before the end.
const BOOKMARKS: f64 = 5.0;

/// Bytes of such a bookmark of Ingresses.
const BOOKMARK: f64 = 161.0;

const HOURS_A_DAY: f64 = 24.0;

/// Into how many instances the work is divided, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sharding {
    /// One instance for the whole cluster.
    None,
    /// Each has its own list of namespaces.
    Namespaces(f64),
    /// Each has its own classes. There is no such setting, and this is why: the API server cannot select Ingresses by
    /// class, so that each instance would be sent all of them. It is assumed that it forgets those of others at once.
    Classes(f64),
}

impl Sharding {
    pub(super) fn instances(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Namespaces(number) | Self::Classes(number) => number,
        }
    }
}

impl fmt::Display for Sharding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("1"),
            Self::Namespaces(number) => write!(formatter, "{number} by namespace"),
            Self::Classes(number) => write!(formatter, "({number} by class)"),
        }
    }
}

/// What the model says, in bytes, CPU seconds and seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Costs {
    /// Once everything is protected, and at most while everything opts in at once.
    pub(super) etcd: f64,
    pub(super) etcd_at_once: f64,
    /// On the API server's heap: objects, and watches of all instances.
    pub(super) heap: f64,
    pub(super) watches: f64,
    /// Of the largest instance, at rest and at most, and of all.
    pub(super) controller: f64,
    pub(super) controller_peak: f64,
    pub(super) controllers: f64,
    /// What the API server sends when all instances start.
    pub(super) start_bytes: f64,
    pub(super) start_api_server_cpu: f64,
    /// Until an instance is ready, when it starts alone.
    pub(super) start_seconds: f64,
    /// What it sends in a day in watches.
    pub(super) watch_bytes_a_day: f64,
    /// For the controller: opt-ins, starts, renewals of watches. What users do in any case is left out.
    pub(super) api_server_cpu_a_day: f64,
    /// Of all instances.
    pub(super) controller_cpu_a_day: f64,
}

/// See the module's documentation.
pub(super) struct Model<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) cluster: &'a Cluster,
}

impl Model<'_> {
    /// What `ingresses` cost, of which a share is opted in, to instances as `sharding` says.
    pub(super) fn costs(&self, ingresses: f64, sharding: Sharding) -> Costs {
        let (inputs, cluster) = (self.inputs, self.cluster);
        let instances = sharding.instances();
        let apps = ingresses * cluster.opted_in;
        // Of one instance: what it is sent, what of that it keeps, and the namespaces in its scope.
        let (sent, kept, namespaces) = match sharding {
            Sharding::None => (1.0, 1.0, 0.0),
            Sharding::Namespaces(_) => {
                (1.0 / instances, 1.0 / instances, ingresses / cluster.in_a_namespace / instances)
            }
            Sharding::Classes(_) => (1.0, 1.0 / instances, 0.0),
        };
        let watches_an_instance = WATCHES + SCOPED_WATCHES * if namespaces > 0.0 { namespaces } else { 1.0 };
        let watches = watches_an_instance * instances;
        // As many watches as there would be with Traefik.
        let scope = namespaces * SCOPED_WATCHES / MEASURED_WATCHES;
        let instance = |part: f64, value: fn(&Share) -> f64| {
            value(&inputs.fixed)
                + part * in_place(inputs, ingresses, apps, value)
                + scope * value(&inputs.namespace)
        };
        let start = |value| instance(sent, value);
        let held = |value| instance(kept, value);
        let objects =
            |value: fn(&Share) -> f64| value(&inputs.fixed) + in_place(inputs, ingresses, apps, value);
        let etcd = objects(|share| share.etcd);
        let (edits, opt_ins) = (ingresses * cluster.edits, apps * cluster.opt_ins);
        let starts = cluster.lists * HOURS_A_DAY * instances;
        let changes = edits * inputs.edit.watch_bytes + opt_ins * inputs.opt_in.watch_bytes;
        let bookmarks = watches * RENEWALS_A_DAY * BOOKMARKS * BOOKMARK;
        let start_api_server_cpu = start(|share| share.api_server_cpu);
        let renewals = watches * RENEWALS_A_DAY * inputs.renewal_cpu;
        let controller = held(|share| share.controller);
        Costs {
            etcd,
            etcd_at_once: etcd + apps * inputs.opt_in.history,
            heap: objects(|share| share.heap) + instances * scope * inputs.namespace.heap,
            watches,
            controller,
            controller_peak: held(|share| share.controller_peak),
            controllers: controller * instances,
            start_bytes: instances * start(|share| share.received),
            start_api_server_cpu: instances * start_api_server_cpu,
            start_seconds: start(|share| share.seconds),
            watch_bytes_a_day: changes * sent * instances + bookmarks,
            api_server_cpu_a_day: starts * start_api_server_cpu
                + opt_ins * inputs.opt_in.api_server_cpu
                + renewals,
            controller_cpu_a_day: starts * start(|share| share.controller_cpu)
                + edits * sent * instances * inputs.edit.controller_cpu
                + opt_ins * inputs.opt_in.controller_cpu,
        }
    }

    /// Ingresses in a namespace from which on an instance needs less memory for being one of `instances` by namespace.
    pub(super) fn break_even(&self, instances: f64) -> f64 {
        let inputs = self.inputs;
        let an_ingress = inputs.ingress.controller + self.cluster.opted_in * inputs.protection.controller;
        let a_namespace = inputs.namespace.controller * SCOPED_WATCHES / MEASURED_WATCHES;
        a_namespace / (an_ingress * (instances - 1.0))
    }
}

/// What so many objects cost, that are all in the scope of one instance.
pub(super) fn in_place(inputs: &Inputs, ingresses: f64, apps: f64, value: fn(&Share) -> f64) -> f64 {
    ingresses * value(&inputs.ingress) + apps * value(&inputs.protection)
}

#[cfg(test)]
mod tests {
    use super::super::inputs::Change;
    use super::*;

    fn share(value: f64) -> Share {
        Share {
            etcd: value,
            heap: value,
            controller: value,
            controller_peak: 2.0 * value,
            received: value,
            seconds: value / 1000.0,
            api_server_cpu: value / 1000.0,
            controller_cpu: value / 1000.0,
        }
    }

    fn change(value: f64) -> Change {
        Change {
            watch_events: 1.0,
            watch_bytes: value,
            api_server_cpu: value / 1000.0,
            etcd_cpu: 0.0,
            controller_cpu: value / 1000.0,
            history: value,
            kubernetes_events: 1.0,
        }
    }

    /// 1,000 Ingresses, 100 of them opted in, 10 in a namespace; 2,000 edits, 10 opt-ins and 24 lists a day.
    fn costs(sharding: Sharding) -> Costs {
        let inputs = Inputs {
            fixed: share(1000.0),
            ingress: share(10.0),
            protection: share(20.0),
            namespace: share(30.0),
            renewal_cpu: 0.01,
            opt_in: change(100.0),
            opt_out: change(0.0),
            edit: change(5.0),
        };
        let cluster = Cluster {
            ingresses: Vec::new(),
            shards: Vec::new(),
            opted_in: 0.1,
            in_a_namespace: 10.0,
            edits: 2.0,
            opt_ins: 0.1,
            lists: 1.0,
        };
        Model { inputs: &inputs, cluster: &cluster }.costs(1000.0, sharding)
    }

    #[track_caller]
    fn close(measured: f64, wanted: f64) {
        assert!((measured - wanted).abs() < 1e-6 * wanted.abs().max(1.0), "{measured} is not {wanted}");
    }

    #[test]
    fn one_instance() {
        let costs = costs(Sharding::None);
        // 1000 + 1000 · 10 + 100 · 20
        close(costs.etcd, 13_000.0);
        // and 100 · 100
        close(costs.etcd_at_once, 23_000.0);
        close(costs.heap, 13_000.0);
        close(costs.watches, 6.0);
        close(costs.controller, 13_000.0);
        close(costs.controller_peak, 26_000.0);
        close(costs.controllers, 13_000.0);
        close(costs.start_bytes, 13_000.0);
        close(costs.start_seconds, 13.0);
        // 2000 · 5 + 10 · 100, and 6 watches · 86400 / 290 · 5 · 161
        close(costs.watch_bytes_a_day, 11_000.0 + 1_439_006.897);
        // 24 · 13 + 10 · 0.1, and 6 · 86400 / 290 · 0.01
        close(costs.api_server_cpu_a_day, 313.0 + 17.875_862_069);
        // 24 · 13 + 2000 · 0.005 + 10 · 0.1
        close(costs.controller_cpu_a_day, 323.0);
    }

    #[test]
    fn by_namespace_each_is_sent_its_own_and_pays_for_its_watches() {
        let costs = costs(Sharding::Namespaces(4.0));
        // 25 namespaces in each: 2 + 4 · 25 watches, which count as 25 · 4/3 namespaces of those measured.
        close(costs.watches, 408.0);
        // 1000 + 12000 / 4 + 25 · 4/3 · 30
        close(costs.controller, 5000.0);
        close(costs.controllers, 20_000.0);
        close(costs.start_bytes, 20_000.0);
        close(costs.start_seconds, 5.0);
        close(costs.start_api_server_cpu, 20.0);
        // 13000 + 4 · 25 · 4/3 · 30
        close(costs.heap, 17_000.0);
        close(costs.watch_bytes_a_day, 11_000.0 + 97_852_468.966);
        close(costs.etcd, 13_000.0);
    }

    #[test]
    fn by_class_each_is_sent_everything() {
        let costs = costs(Sharding::Classes(4.0));
        close(costs.watches, 24.0);
        // 1000 + 12000 / 4
        close(costs.controller, 4000.0);
        close(costs.start_bytes, 52_000.0);
        close(costs.start_seconds, 13.0);
        close(costs.watch_bytes_a_day, 44_000.0 + 5_756_027.586);
    }

    #[test]
    fn where_sharding_begins_to_pay() {
        let inputs = Inputs {
            ingress: share(8.0),
            protection: share(20.0),
            namespace: share(30.0),
            ..Inputs::default()
        };
        let cluster = Cluster {
            ingresses: Vec::new(),
            shards: Vec::new(),
            opted_in: 0.1,
            in_a_namespace: 10.0,
            edits: 0.0,
            opt_ins: 0.0,
            lists: 0.0,
        };
        // 40 a namespace; 10 an Ingress, of which 4/5 are saved, or 1/5 · n each: n = 40 / (10 · 4).
        close(Model { inputs: &inputs, cluster: &cluster }.break_even(5.0), 1.0);
    }
}
