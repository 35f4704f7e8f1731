//! The Helm of the tests, for people and for `make`: `cargo run -q -p ingress-sso-testbed --bin helm -- lint deploy/chart`.

use std::{env, os::unix::process::CommandExt, process::Command};

use anyhow::Context;
use ingress_sso_testbed::helm;

fn main() -> anyhow::Result<()> {
    let program = helm::find().context("there is no Helm")?;
    // Returns only where it fails.
    let error = Command::new(&program).args(env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}
