//! A file system of its own for the controller and its nginx, which have fixed paths for all they read and write.
//!
//! `/etc`, `/var` and `/tmp` are other directories for these processes: below a temporary one, from where a test can
//! read them. The rest is that of the machine, which they could not write to even if they tried.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::files::{copy, copy_tree, write};
use crate::control_plane::ControlPlane;

/// Where the sandbox has the kubeconfig.
pub(super) const KUBECONFIG: &str = "/etc/testbed/kubeconfig";
/// Where it has the certificate of the webhook.
pub(super) const CERTIFICATE: &str = "/etc/testbed/webhook.crt";
/// Where it has the key to it.
pub(super) const KEY: &str = "/etc/testbed/webhook.key";

/// Where the sandbox has Debian's packages.
const NGINX: &str = "/etc/testbed/nginx";
/// Where it has the controller's directory.
const CONTROLLER: &str = "/etc/testbed/controller";
/// What the controller runs as nginx.
const WRAPPER: &str = "/etc/testbed/nginx.sh";

/// What the programs need of the machine's own `/etc`, where it exists.
const OF_THE_MACHINE: [&str; 6] = ["group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd", "resolv.conf"];

/// What the controller's configuration includes of nginx's own `/etc/nginx`.
const OF_NGINX: [&str; 2] = ["fastcgi_params", "mime.types"];

/// Directories that nobody makes at run time.
const DIRECTORIES: [&str; 9] = [
    "etc/ingress-controller/auth",
    "etc/ingress-controller/geoip",
    "etc/ingress-controller/ssl",
    "etc/ingress-controller/telemetry",
    "etc/testbed/controller",
    "etc/testbed/nginx",
    "tmp/nginx",
    "var/lib/nginx",
    "var/log/nginx",
];

/// Mounts `$1`, the sandbox, with `$2` and `$3` in it, and becomes the rest of its arguments. The names before `--`
/// are the directories of the root to cover, in this order.
///
/// nginx that runs as root changes its user, which takes a call that such a namespace denies; and so it does not run as
/// root, in one more namespace of users.
const MOUNT: &str = r#"
set -eu
sandbox=$1
mount --bind "$2" "$sandbox/etc/testbed/nginx"
mount --bind "$3" "$sandbox/etc/testbed/controller"
shift 3
while [ "$1" != -- ]; do
    mount --rbind "$sandbox/$1" "/$1"
    shift
done
shift
cd /
exec unshare --user --map-user=1000 --map-group=1000 "$@"
"#;

/// Prepares the sandbox in `dir`, with the controller's own files.
pub(super) fn prepare(dir: &Path, controller: &Path, nginx: &Path, plane: &ControlPlane) -> Result<()> {
    for name in DIRECTORIES {
        fs::create_dir_all(dir.join(name)).with_context(|| format!("make {name}"))?;
    }
    for name in OF_THE_MACHINE {
        let from = Path::new("/etc").join(name);
        if from.exists() {
            copy(&from, &dir.join("etc").join(name))?;
        }
    }
    copy_tree(&controller.join("etc/nginx"), &dir.join("etc/nginx"))?;
    for name in OF_NGINX {
        copy(&nginx.join("etc/nginx").join(name), &dir.join("etc/nginx").join(name))?;
    }
    let inside = |path: &str| dir.join(path.trim_start_matches('/'));
    copy(&plane.dir().join("server.crt"), &inside(CERTIFICATE))?;
    copy(&plane.dir().join("server.key"), &inside(KEY))?;
    write(&inside(KUBECONFIG), &kubeconfig(plane)?)?;
    write(&inside(WRAPPER), &wrapper(nginx)?)?;
    fs::set_permissions(inside(WRAPPER), fs::Permissions::from_mode(0o755)).context("make it a program")
}

/// Prepares the command of the controller in the sandbox `dir`, to which its arguments are added.
pub(super) fn command(dir: &Path, controller: &Path, nginx: &Path) -> Command {
    let mut command = Command::new("unshare");
    // A namespace of processes, since nginx leaves the controller's process group: it ends with this command.
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", MOUNT, "mount"]).args([dir, nginx, controller]).args(order(dir)).arg("--");
    command.arg(format!("{CONTROLLER}/controller")).env("NGINX_BINARY", WRAPPER);
    // The directory for temporary files outside is not there inside.
    command.env("TMPDIR", "/tmp");
    command
}

/// The directories to cover: last the one that the sandbox itself is in, which is out of reach from then on.
fn order(dir: &Path) -> [&'static str; 3] {
    let mut names = ["etc", "var", "tmp"];
    names.sort_by_key(|name| dir.starts_with(Path::new("/").join(name)));
    names
}

/// The administrator's kubeconfig, without paths to files that the sandbox lacks.
fn kubeconfig(plane: &ControlPlane) -> Result<String> {
    let content = fs::read(plane.kubeconfig()).context("read the kubeconfig")?;
    let mut kubeconfig: Value = serde_json::from_slice(&content).context("parse the kubeconfig")?;
    let authority =
        fs::read(plane.dir().join("authority.crt")).context("read the authority's certificate")?;
    let cluster = &mut kubeconfig["clusters"][0]["cluster"];
    *cluster = json!({ "server": plane.url(), "certificate-authority-data": ByteString(authority) });
    Ok(kubeconfig.to_string())
}

/// Debian's nginx, with the modules that the official image compiles in.
fn wrapper(nginx: &Path) -> Result<String> {
    let modules = ["ndk_http", "ngx_http_set_misc", "ngx_http_headers_more_filter", "ngx_http_lua"]
        .map(|name| format!("load_module {NGINX}/usr/lib/nginx/modules/{name}_module.so;"))
        .join(" ");
    let libraries = library_directories(nginx)?;
    let joined =
        |suffix: &str| libraries.iter().map(|dir| format!("{NGINX}/{dir}{suffix}")).collect::<Vec<_>>();
    Ok(format!(
        "#!/bin/sh\n\
         export LD_LIBRARY_PATH='{}'\n\
         export LUA_PATH='{NGINX}/usr/share/lua/5.1/?.lua;{NGINX}/usr/share/lua/5.1/?/init.lua;;'\n\
         export LUA_CPATH='{};;'\n\
         exec {NGINX}/usr/sbin/nginx -g '{modules}' \"$@\"\n",
        joined("").join(":"),
        joined("/lua/5.1/?.so").join(";"),
    ))
}

/// The directories of shared libraries, such as `usr/lib/x86_64-linux-gnu`.
fn library_directories(nginx: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for parent in ["lib", "usr/lib"] {
        // The packages of newer systems have all below `usr`.
        let Ok(entries) = fs::read_dir(nginx.join(parent)) else { continue };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.contains("-linux-") {
                found.push(format!("{parent}/{name}"));
            }
        }
    }
    ensure!(!found.is_empty(), "{} has no shared libraries", nginx.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_s_own_place_is_covered_last() {
        assert_eq!(order(Path::new("/tmp/x/sandbox")), ["etc", "var", "tmp"]);
        assert_eq!(order(Path::new("/var/tmp/x/sandbox")), ["etc", "tmp", "var"]);
    }

    #[test]
    fn nginx_finds_its_libraries_wherever_the_packages_have_them() {
        let nginx = tempfile::tempdir().unwrap();
        assert!(library_directories(nginx.path()).is_err());
        for dir in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/nginx"] {
            fs::create_dir_all(nginx.path().join(dir)).unwrap();
        }
        let expected = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        assert_eq!(library_directories(nginx.path()).unwrap(), expected);
        assert!(
            wrapper(nginx.path()).unwrap().contains("/etc/testbed/nginx/usr/sbin/nginx -g 'load_module ")
        );
    }
}
