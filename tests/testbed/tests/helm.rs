//! Helm is there, knows its version, and says why it fails.

use anyhow::Result;
use ingress_sso_testbed::helm::helm;

#[tokio::test]
async fn it_knows_its_version_in_full() -> Result<()> {
    assert_eq!(helm(None, &["version", "--template={{.Version}}"]).await?, "v4.3.1");
    Ok(())
}

#[tokio::test]
async fn a_failure_has_what_it_printed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let error = helm(None, &["lint", &dir.path().to_string_lossy()]).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("helm lint ") && error.contains("unable to check Chart.yaml"), "{error}");
    assert!(error.contains("1 chart(s) failed"), "{error}");
    Ok(())
}
