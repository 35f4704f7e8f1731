//! A C compiler for musl, which Alpine has by itself.

use anyhow::{Context, Result, ensure};
use ingress_sso_testbed::cache;
use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;

/// Unpacks Debian's packages into `$1`, which will be `$2`, for the architecture `$3`.
const UNPACK: &str = r#"
cd "$1"
apt-get -q download musl-dev musl-tools
for package in *.deb; do dpkg-deb -x "$package" .; done
rm ./*.deb
sed -i "s#/usr/lib/$3-linux-musl#$2&#g; s#/usr/include/$3-linux-musl#$2&#g; s#:-[^}]*}#:-cc}#" \
    usr/bin/musl-gcc "usr/lib/$3-linux-musl/musl-gcc.specs"
"#;

/// The target of rustup that Alpine's compiler has as its own.
pub(crate) fn target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

/// The compiler on the PATH, or else that of Debian or Ubuntu, which it unpacks into the cache if need be.
pub(crate) fn compiler() -> Result<PathBuf> {
    if Command::new("musl-gcc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(PathBuf::from("musl-gcc"));
    }
    let folder = cache::directory()?.join("musl");
    cache::once(&folder, "a C compiler for musl", |partial| {
        let mut command = Command::new("sh");
        command.args(["-ec", UNPACK, "unpack"]).args([partial, &folder]).arg(ARCH);
        let status = command.status().context("run sh")?;
        ensure!(status.success(), "{status}: put musl-gcc on the PATH, from the package musl-tools");
        Ok(())
    })?;
    Ok(folder.join("usr/bin/musl-gcc"))
}

/// Has rustup add the target, if need be.
pub(crate) fn add_target() -> Result<()> {
    let status = Command::new("rustup").args(["target", "add", &target()]).status().context("run rustup")?;
    ensure!(status.success(), "rustup target add {}: {status}", target());
    Ok(())
}
