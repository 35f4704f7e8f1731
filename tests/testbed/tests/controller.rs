//! The controller as a process, with stand-ins: its own tests have the real one.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use ingress_sso_testbed::controller::Controller;

const SOON: Duration = Duration::from_secs(10);

/// A shell script in the place of the controller.
fn stand_in(dir: &tempfile::TempDir, script: &str) -> Result<PathBuf> {
    let path = dir.path().join("stand-in");
    fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[tokio::test]
async fn arguments_environment_and_sigterm() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = "trap 'exit 7' TERM; echo \"$@\" \"$KUBECONFIG\"; while :; do sleep 0.01; done";
    let controller = Controller::builder(stand_in(&dir, script)?)
        .kubeconfig("/some/kubeconfig".as_ref())
        .args(["--log", "debug"])
        .start()?;
    let expected = format!("run --listen {} --log debug /some/kubeconfig\n", controller.address());
    ingress_sso_testbed::wait::eventually("its output", SOON, || async {
        match controller.logs()? {
            logs if logs == expected => Ok(Some(())),
            logs => bail!("{logs}"),
        }
    })
    .await?;
    let (status, duration) = controller.terminate(SOON).await?;
    assert_eq!(status.code(), Some(7));
    assert!(duration < SOON);
    Ok(())
}

#[tokio::test]
async fn an_early_end_shows_at_once_with_the_log() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let controller = Controller::builder(stand_in(&dir, "echo no cluster; exit 3")?).start()?;
    let Err(error) = controller.wait_ready(SOON).await else { bail!("it was ready") };
    let error = format!("{error:#}");
    assert!(error.contains("ended early") && error.contains("exit status: 3"), "{error}");
    assert!(error.ends_with("no cluster"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_missing_program_shows_too() -> Result<()> {
    let controller = Controller::builder("/nowhere/ingress-sso").start()?;
    let Err(error) = controller.wait_ready(SOON).await else { bail!("it was ready") };
    assert!(format!("{error:#}").contains("/nowhere/ingress-sso"), "{error:#}");
    Ok(())
}
