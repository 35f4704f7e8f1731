//! What was measured, as it is written to `result.json`: raw samples, in seconds and bytes.

use crate::cost::{Inputs, Scoped, Size};
use crate::machine::Machine;
use crate::plan::{Layout, Plan};
use crate::stats::count;
use crate::usage::Usage;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// Writes by verb and kind, such as `POST services`.
pub(crate) type Writes = BTreeMap<String, u64>;

/// See the module's documentation.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) cold_start: Vec<ColdStart>,
    pub(crate) latency: Option<Latency>,
    pub(crate) restart: Option<Restart>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) hot: Option<Hot>,
    pub(crate) broken: Option<Broken>,
    pub(crate) cost: Option<Cost>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub(crate) async fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            machine: Machine::new(plan).await?,
            plan: plan.clone(),
            cold_start: Vec::new(),
            latency: None,
            restart: None,
            memory: Vec::new(),
            hot: None,
            broken: None,
            cost: None,
            failures: Vec::new(),
        })
    }

    /// Notes that `what` could not be measured, and goes on: hours of other figures are not lost to one that cannot be had.
    pub(crate) fn fail(&mut self, what: &str, error: &anyhow::Error) {
        let failure = format!("{what}: {error:#}");
        eprintln!("bench: {failure}");
        self.failures.push(failure);
    }
}

/// The bare loop and the controller, one after the other.
#[derive(Debug, Serialize)]
pub(crate) struct ColdStart {
    pub(crate) layout: Layout,
    pub(crate) concurrency: usize,
    pub(crate) apps: usize,
    pub(crate) round: usize,
    pub(crate) bare: Run,
    pub(crate) controller: Run,
}

impl ColdStart {
    pub(crate) fn bare(&self) -> &Run {
        &self.bare
    }

    pub(crate) fn controller(&self) -> &Run {
        &self.controller
    }

    /// Speed of the controller as a share of that of the bare loop.
    pub(crate) fn speed(&self) -> f64 {
        self.bare.seconds / self.controller.seconds
    }

    /// The same without the time that the rest of the machine took. Client and servers keep all cores busy, so what
    /// others take makes them wait for about as long.
    pub(crate) fn net_speed(&self, cores: usize) -> f64 {
        self.bare.net_seconds(cores) / self.controller.net_seconds(cores)
    }

    /// CPU time of all, servers included, that the bare loop needs, as a share of what it takes with the controller. It
    /// suffers least from other work.
    pub(crate) fn economy(&self) -> f64 {
        let all = |run: &Run| run.client_cpu + run.servers_cpu;
        all(&self.bare) / all(&self.controller)
    }
}

impl Run {
    /// What everything else took of the CPU time that the machine had: the more, the less `seconds` says.
    pub(crate) fn disturbance(&self, cores: usize) -> f64 {
        self.others_cpu.max(0.0) / (self.seconds * count(cores))
    }

    /// Seconds without those that everything else took.
    pub(crate) fn net_seconds(&self, cores: usize) -> f64 {
        self.seconds * (1.0 - self.disturbance(cores)).max(0.0)
    }
}

/// How all apps became protected.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// CPU seconds of whoever sent the writes, until the last app was protected. That of the bare loop includes the
    /// watch on the apps.
    pub(crate) client_cpu: f64,
    /// CPU seconds of etcd, API server and controller manager, until the last app was protected.
    pub(crate) servers_cpu: f64,
    /// CPU seconds of everything else on the machine meanwhile.
    pub(crate) others_cpu: f64,
    /// Of the controller, once all Events were written too; nothing for the bare loop.
    pub(crate) usage: Usage,
    pub(crate) writes: Writes,
    /// A hash of all that was there in the end.
    pub(crate) objects: String,
}

/// From the answer to the request that opts an app in until it is seen protected.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Latency {
    /// One after the other, in namespaces with protected apps.
    pub(crate) rest: Vec<f64>,
    /// The same for the first app of a namespace.
    pub(crate) rest_first: Vec<f64>,
    /// Two round trips without a controller, measured in turns with `rest`: the POST of an Ingress, and an apply to it.
    pub(crate) two_round_trips: Vec<f64>,
    /// A GET of an Ingress, measured in turns with `rest`.
    pub(crate) get: Vec<f64>,
    /// Single apps while `storm_apps` others opt in.
    pub(crate) storm: Vec<f64>,
    /// A GET meanwhile.
    pub(crate) storm_get: Vec<f64>,
    pub(crate) storm_apps: usize,
    /// From the first of the storm's requests to its last protected app.
    pub(crate) storm_seconds: f64,
}

/// With everything in place.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Restart {
    pub(crate) apps: usize,
    /// From the start of the process until it is ready.
    pub(crate) ready: Vec<f64>,
    /// The bare list of all Ingresses, decoded.
    pub(crate) list: Vec<f64>,
    /// CPU seconds until it is quiet.
    pub(crate) cpu: Vec<f64>,
    pub(crate) resident: Vec<f64>,
    /// Of all restarts together.
    pub(crate) writes: Writes,
    /// From the start of the process, with all apps opted out before, until nothing is left.
    pub(crate) opt_out: f64,
    pub(crate) opt_out_cpu: f64,
    pub(crate) opt_out_writes: Writes,
}

/// How much it needs beside so many Ingresses.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) ingresses: usize,
    pub(crate) apps: usize,
    /// After the apps were protected.
    pub(crate) cold: Usage,
    /// After a restart.
    pub(crate) warm: Usage,
    /// From the start until it was ready, at the restart.
    pub(crate) ready: f64,
    /// CPU seconds in a second of rest.
    pub(crate) rest: f64,
}

/// One protected app that others edit all the time.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Hot {
    pub(crate) seconds: f64,
    pub(crate) edits: u64,
    pub(crate) cpu: f64,
    /// All but the edits.
    pub(crate) writes: Writes,
}

/// Single apps beside very many broken ones, in seconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Broken {
    pub(crate) ingresses: usize,
    /// For how long, and how often, one of them was edited.
    pub(crate) seconds: f64,
    pub(crate) edits: u64,
    /// CPU seconds of the controller, from its start.
    pub(crate) cpu: f64,
    /// Without them, and what two round trips took.
    pub(crate) alone: Vec<f64>,
    pub(crate) alone_trips: Vec<f64>,
    /// The same beside them.
    pub(crate) among: Vec<f64>,
    pub(crate) among_trips: Vec<f64>,
}

/// What Ingresses, opt-ins and watches cost all who take part.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cost {
    /// Two from whose difference the inputs of the model come, and a larger one to hold the model against.
    pub(crate) sizes: Vec<Size>,
    /// Instances scoped to few and to many namespaces.
    pub(crate) scoped: Vec<Scoped>,
    /// CPU seconds of the API server for a watch that ends and begins anew.
    pub(crate) renewal_cpu: f64,
    /// Once there are two sizes.
    pub(crate) inputs: Option<Inputs>,
}
