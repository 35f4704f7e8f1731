//! Where the controller and nginx come from: built and unpacked once a machine, without root.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::files::{copy_tree, write};
use crate::{cache, go::Module};

/// The Go module that the controller is built with.
const MODULE: Module = Module(&[
    ("go.mod", include_str!("../../ingress-nginx/go.mod")),
    ("go.sum", include_str!("../../ingress-nginx/go.sum")),
]);

const SOURCE: &str = "k8s.io/ingress-nginx";

/// The version is what the controller says of itself: the module is of a commit between releases.
const BUILD_FLAGS: [&str; 5] =
    ["-trimpath", "-mod=readonly", "-v", "-ldflags", "-s -w -X k8s.io/ingress-nginx/version.RELEASE=v1.11.1"];

/// Packages that a cold build compiles, to show how far it is.
const GO_PACKAGES: usize = 850;

/// In place of Lua libraries that the official image has and Debian has not.
const LUA: [(&str, &str); 8] = [
    ("resty/chash.lua", include_str!("../../ingress-nginx/lua/resty/chash.lua")),
    ("resty/cookie.lua", include_str!("../../ingress-nginx/lua/resty/cookie.lua")),
    ("resty/dns/resolver.lua", include_str!("../../ingress-nginx/lua/resty/dns/resolver.lua")),
    ("resty/global_throttle.lua", include_str!("../../ingress-nginx/lua/resty/global_throttle.lua")),
    ("resty/http.lua", include_str!("../../ingress-nginx/lua/resty/http.lua")),
    ("resty/ipmatcher.lua", include_str!("../../ingress-nginx/lua/resty/ipmatcher.lua")),
    ("resty/lock.lua", include_str!("../../ingress-nginx/lua/resty/lock.lua")),
    ("resty/roundrobin.lua", include_str!("../../ingress-nginx/lua/resty/roundrobin.lua")),
];

/// nginx and the modules that the official image compiles in.
const PACKAGES: [&str; 8] = [
    "nginx",
    "libnginx-mod-http-headers-more-filter",
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "libnginx-mod-http-set-misc",
    "lua-cjson",
    "lua-resty-core",
    "lua-resty-lrucache",
];

/// Downloads packages with directories of its own below `$1`. What the machine has installed counts as there, so
/// that just those libraries come along which it lacks.
const DOWNLOAD: &str = r#"
dir=$1; shift
mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
apt() {
    apt-get -q -y -o Dir::State="$dir/state" -o Dir::State::lists="$dir/state/lists" -o Dir::Cache="$dir/cache" \
        -o Dir::State::status=/var/lib/dpkg/status -o Debug::NoLocking=1 -o APT::Sandbox::User= "$@"
}
# A list that cannot be had is no matter if the others suffice.
apt update
apt --no-install-recommends --reinstall --download-only install "$@"
"#;

/// Returns the directory with the program `controller` and its `etc/nginx`, which it builds if need be: one to three
/// minutes on two cores, once.
///
/// Fails when there is no Go, or when the build fails.
pub(super) fn controller() -> Result<PathBuf> {
    let lua = LUA.into_iter().flat_map(|(name, content)| [name, content]);
    let key = MODULE.key(BUILD_FLAGS.into_iter().chain(lua));
    let target = cache::directory()?.join("ingress-nginx").join(key);
    cache::once(&target, "the ingress-nginx controller", build)?;
    Ok(target)
}

fn build(target: &Path) -> Result<()> {
    let workspace = MODULE.workspace()?;
    let mut command = workspace.go(["build"]);
    command.args(BUILD_FLAGS).arg("-o").arg(target.join("controller")).arg(format!("{SOURCE}/cmd/nginx"));
    eprintln!(
        "testbed: building the ingress-nginx controller: one to three minutes on two cores, and only once"
    );
    workspace.follow(&command, GO_PACKAGES)?;
    let nginx = target.join("etc/nginx");
    copy_tree(&workspace.module_directory(SOURCE)?.join("rootfs/etc/nginx"), &nginx)?;
    cut_stream(&nginx.join("template/nginx.tmpl"))?;
    for (name, content) in LUA {
        write(&nginx.join("lua").join(name), content)?;
    }
    Ok(())
}

/// Takes the block for plain TCP and UDP out of the template: Debian's nginx has no Lua for it.
fn cut_stream(template: &Path) -> Result<()> {
    let content = fs::read_to_string(template).with_context(|| format!("read {}", template.display()))?;
    let without = without_stream(&content).context("the template has no block `stream`")?;
    write(template, &without)
}

fn without_stream(template: &str) -> Option<String> {
    let (before, block) = template.split_once("\nstream {")?;
    let (_, after) = block.split_once("\n}\n")?;
    Some(format!("{before}\n{after}"))
}

/// Returns the directory with nginx and all it needs as Debian's packages lay it out, which it downloads and unpacks
/// if need be.
///
/// Fails where there is no `apt-get`, with a reason to leave tests out, and when a package cannot be had.
pub(super) fn nginx() -> Result<PathBuf> {
    let release = release();
    let key = cache::key(PACKAGES.into_iter().chain([release.as_str(), DOWNLOAD]));
    let target = cache::directory()?.join("debian-nginx").join(format!("{release}-{key}"));
    cache::once(&target, "nginx from Debian's packages", unpack)?;
    Ok(target)
}

/// Names the system whose packages these are, such as `debian-12`.
fn release() -> String {
    let content = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let value = content.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    format!("{}-{}", field("ID"), field("VERSION_ID"))
}

fn unpack(target: &Path) -> Result<()> {
    eprintln!("testbed: downloading nginx from Debian's packages");
    let dir = tempfile::tempdir().context("make a temporary directory")?;
    let output = match Command::new("apt-get").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "there is no apt-get: nginx with its Lua modules is taken from the packages of Debian or Ubuntu"
            )
        }
        _ => Command::new("sh").args(["-c", DOWNLOAD, "download"]).arg(dir.path()).args(PACKAGES).output(),
    };
    let output = output.context("run sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "apt-get: {}\n{}", output.status, said.trim());
    let archives = dir.path().join("cache/archives");
    for entry in fs::read_dir(&archives).with_context(|| format!("list {}", archives.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The C library and the program that loads it have to be of one version: those of the machine.
        if name.ends_with(".deb") && !name.starts_with("libc6_") {
            extract(&path, target)?;
        }
    }
    ensure!(target.join("usr/sbin/nginx").is_file(), "Debian's packages have no usr/sbin/nginx");
    Ok(())
}

fn extract(package: &Path, target: &Path) -> Result<()> {
    let output = Command::new("dpkg-deb").arg("--extract").args([package, target]).output();
    let output = output.context("run dpkg-deb")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "unpack {}: {}", package.display(), stderr.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_cut() {
        let template = "http {\n  a;\n}\n\nstream {\n  server {\n  }\n}\n\n/* end */\n";
        assert_eq!(without_stream(template).unwrap(), "http {\n  a;\n}\n\n\n/* end */\n");
        assert_eq!(without_stream("http {\n}\n"), None);
    }
}
