//! Makes sure that the servers of the control plane are there, ahead of the tests that need them, and prints
//! their directory on the last line of standard output: a value for `KUBEBUILDER_ASSETS`.

fn main() -> anyhow::Result<()> {
    println!("{}", ingress_sso_testbed::assets::directory()?.display());
    Ok(())
}
