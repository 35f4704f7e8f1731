//! A program that is run to its end under a guard, for what it prints.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use crate::guard::Guard;

/// Its standard streams are files in the directory `$1`, and the working directory stays that of the test.
const REDIRECT: &str = r#"dir=$1; shift; exec "$@" <"$dir/in" >"$dir/out" 2>"$dir/err""#;

/// Runs a program with `input` as its standard input and returns its standard output. `guard` has a directory for it
/// alone.
///
/// Fails when the program fails; the error then has all it printed, standard error first.
pub(crate) async fn output(guard: &Guard, name: &str, program: &Command, input: &str) -> Result<String> {
    let dir = guard.dir();
    fs::write(dir.join("in"), input).context("write its standard input")?;
    let mut command = Command::new("sh");
    command.args(["-c", REDIRECT, name]).arg(dir).arg(program.get_program()).args(program.get_args());
    for (variable, value) in program.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    let process = guard.spawn(name, &command)?;
    let status = loop {
        match process.exited()? {
            Some(status) => break status,
            None => sleep(Duration::from_millis(5)).await,
        }
    };
    let printed = |stream: &str| {
        let bytes = fs::read(dir.join(stream)).with_context(|| format!("read its standard {stream}"))?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let out = printed("out")?;
    if !status.success() {
        bail!("{status}\n{}", [printed("err")?, out].map(|text| text.trim().to_owned()).join("\n").trim());
    }
    Ok(out)
}
