//! Real requests through real data planes: what a visitor meets, and what an attacker tries, on every data plane that
//! the controller serves.
//!
//! All of it is real but the app and authentik: the API server, the controller, ingress-nginx with nginx, Traefik. Each
//! test runs once for each [`lane::Lane`], in a namespace of its own with an app, an outpost and a controller of its own.

mod admission;
mod annotations;
mod app;
mod attacks;
mod knock;
mod lane;
mod life;
mod limits;
mod login;
mod probe;
mod several;
mod site;
mod stage;
mod traefik;
mod traffic;

use ingress_sso_testbed::network::{self, Network};
use ingress_sso_testbed::prepare;
use ingress_sso_testbed::skip::skip;
use lane::Lane;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Tests at once. They mostly wait, for a data plane to notice a change.
const THREADS: usize = 6;

fn main() -> ExitCode {
    match network::enter(prepare::all) {
        Ok(Network::Inside) => {}
        Ok(Network::Unavailable(reason)) => return left_out(&reason),
        Err(error) => return failure(&error),
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return failure(&error.into()),
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&runtime));
    stage::tell_of_trouble(&conclusion);
    arguments.test_threads = Some(1);
    let last = libtest_mimic::run(&arguments, last_trials(&runtime));
    stage::tell_of_trouble(&last);
    if conclusion.has_failed() { conclusion.exit_code() } else { last.exit_code() }
}

/// The same closing line as ever, so that whoever reads it sees that nothing ran.
fn left_out(reason: &str) -> ExitCode {
    match skip("the end-to-end tests on real data planes", &reason) {
        Ok(()) => {
            let nothing = libtest_mimic::run(&Arguments::from_args(), Vec::new());
            Conclusion::exit_code(&nothing)
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

fn trials(runtime: &Arc<Runtime>) -> Vec<Trial> {
    let mut trials = Trials { runtime: Arc::clone(runtime), all: Vec::new() };
    for lane in Lane::ALL {
        login::add(&mut trials, lane);
        several::add(&mut trials, lane);
        life::add(&mut trials, lane);
        attacks::add(&mut trials, lane);
        admission::add(&mut trials, lane);
        knock::add(&mut trials, lane);
    }
    annotations::add(&mut trials);
    probe::add(&mut trials);
    traefik::add(&mut trials);
    limits::add(&mut trials);
    trials.all
}

/// Those that change what all share, so they come one by one when the others are done.
fn last_trials(runtime: &Arc<Runtime>) -> Vec<Trial> {
    let mut trials = Trials { runtime: Arc::clone(runtime), all: Vec::new() };
    attacks::add_last(&mut trials);
    trials.all
}

/// Tests in the making.
struct Trials {
    runtime: Arc<Runtime>,
    all: Vec<Trial>,
}

impl Trials {
    /// One more test, on one lane.
    fn add<F>(&mut self, lane: Lane, name: &str, test: impl FnOnce(Lane) -> F + Send + 'static)
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let runtime = Arc::clone(&self.runtime);
        self.all.push(Trial::test(format!("{lane}::{name}"), move || {
            runtime.block_on(test(lane)).map_err(|error| Failed::from(format!("{error:#}")))
        }));
    }
}

/// Adds tests by the names of their functions.
macro_rules! add {
    ($trials:expr, $lane:expr, $($test:ident),+ $(,)?) => {
        $($trials.add($lane, stringify!($test), $test);)+
    };
}
use add;
