//! A private network for end-to-end tests: addresses of their own, ports below 1024, a resolver of their own.
//!
//! Made of Linux namespaces, without root: nothing inside reaches the machine's network, nothing outside reaches in,
//! and the file systems change for those inside only. All of 10.201.0.0/16 is local. The API server refuses loopback
//! addresses as endpoints, which is why tests do not make do with 127.0.0.0/8.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{ErrorKind, Write},
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus, exit},
};

use anyhow::{Context, Result, bail, ensure};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection, packet_route::route::RouteType};

use crate::guard::Guard;

/// The machine itself, inside.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);
/// Where ingress-nginx listens.
pub const NGINX: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 10);
/// Where Traefik listens.
pub const TRAEFIK: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 20);
/// Where the DNS server listens: `/etc/resolv.conf` names it.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 53);

/// All of the network is local, by the length of the prefix of [`HOST`].
const PREFIX: u8 = 16;

/// Set for the program inside.
const INSIDE: &str = "INGRESS_SSO_TESTBED_NETWORK";

/// Makes the namespaces. However this process ends, the kernel ends `unshare` with it, by `setpriv`, and that ends all
/// processes inside.
const NAMESPACES: [&str; 12] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
];

/// The first process of a process namespace ignores SIGINT and SIGTERM unless it handles them, and has to wait for
/// orphans. So it is this shell, and the test program behaves as ever.
const INIT: &str = r#""$@"; exit $?"#;

/// What [`enter`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// The program runs in a private network.
    Inside,
    /// It does not, and the kernel or the machine says why. See [`crate::skip`].
    Unavailable(String),
}

/// Puts the program into a private network, by starting it again inside, with the same arguments and environment.
///
/// To be called first thing in `main`, while there is one thread and no runtime. Outside, it does not return where it
/// succeeds: this process waits for the program inside, and ends with its exit code. Inside, it returns
/// [`Network::Inside`]. Temporary files inside are below one directory, which goes when this process ends by whatever
/// cause. There are no package registries inside, and so `prepare` makes ahead what the program
/// needs of them; it is called outside only. See [`crate::prepare`].
///
/// Fails when the network was made and cannot be set up. Where `prepare` fails, the network counts as unavailable.
pub fn enter(prepare: impl FnOnce() -> Result<()>) -> Result<Network> {
    if env::var_os(INSIDE).is_some() {
        set_up().context("set up the private network")?;
        return Ok(Network::Inside);
    }
    if let Some(reason) = obstacle() {
        return Ok(Network::Unavailable(reason));
    }
    if let Err(error) = prepare() {
        return Ok(Network::Unavailable(format!("{error:#}")));
    }
    let status = run_inside()?;
    // The shell inside turns the end by a signal into such a code, too.
    exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
}

/// Runs this program inside, with the same arguments and standard streams, to its end.
fn run_inside() -> Result<ExitStatus> {
    let program = env::current_exe().context("find this program")?;
    // Those inside are killed with this process, the guards among them, and so cannot clean up.
    let guard = Guard::new("network-")?;
    let mut command = Command::new("setpriv");
    command.args(NAMESPACES).args(["sh", "-c", INIT, "init"]).arg(program).args(env::args_os().skip(1));
    command.env(INSIDE, "1").env("TMPDIR", guard.dir()).status().context("run unshare")
}

/// Why there can be no private network here, if so.
fn obstacle() -> Option<String> {
    let output = match Command::new("setpriv").args(NAMESPACES).arg("true").output() {
        Ok(output) if output.status.success() => return None,
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some(String::from(
                "there are no programs `setpriv` and `unshare`, which are a part of util-linux",
            ));
        }
        Err(error) => return Some(format!("setpriv does not run: {error}")),
    };
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Some(setting(Path::new("/proc/sys")).map_or(message.clone(), |setting| format!("{setting} ({message})")))
}

/// The kernel's setting that forbids namespaces to ordinary users. `sys` is `/proc/sys`.
fn setting(sys: &Path) -> Option<&'static str> {
    let is = |name: &str, value: &str| {
        fs::read_to_string(sys.join(name)).is_ok_and(|content| content.trim() == value)
    };
    if is("user/max_user_namespaces", "0") {
        return Some("user namespaces are disabled: user.max_user_namespaces is 0");
    }
    if is("kernel/unprivileged_userns_clone", "0") {
        return Some("unprivileged user namespaces are disabled: kernel.unprivileged_userns_clone is 0");
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Some(
            "AppArmor restricts unprivileged user namespaces: kernel.apparmor_restrict_unprivileged_userns is 1",
        );
    }
    None
}

fn set_up() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("make a runtime")?;
    // A program that was started by one inside finds everything in place.
    if !runtime.block_on(set_up_loopback())? {
        return Ok(());
    }
    let ports = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    fs::write(ports, "0").with_context(|| format!("allow ports below 1024 in {ports}"))?;
    set_up_resolver()
}

/// Whether there was something to do. Not through the program `ip`, which minimal systems lack.
async fn set_up_loopback() -> Result<bool> {
    let (connection, netlink, _) = new_connection().context("open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let done = configure(&netlink).await;
    connection.abort();
    done
}

async fn configure(netlink: &Handle) -> Result<bool> {
    // The first device of every network.
    let lo = 1;
    match netlink.address().add(lo, HOST.into(), PREFIX).execute().await {
        Err(rtnetlink::Error::NetlinkError(error)) if error.to_io().kind() == ErrorKind::AlreadyExists => {
            return Ok(false);
        }
        added => added.context("add an address to lo")?,
    }
    let up = LinkUnspec::new_with_index(lo).up().build();
    netlink.link().set(up).execute().await.context("set lo up")?;
    // Whoever looks for anything outside is told at once that there is no way.
    let nowhere = RouteMessageBuilder::<Ipv4Addr>::new().kind(RouteType::Unreachable).build();
    netlink.route().add(nowhere).execute().await.context("add a default route")?;
    Ok(true)
}

/// Puts another file in the place of `/etc/resolv.conf`, for those inside.
fn set_up_resolver() -> Result<()> {
    let mut file = tempfile::NamedTempFile::new().context("make a temporary file")?;
    write!(file, "nameserver {DNS}\noptions timeout:1 attempts:2\n").context("write it")?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).context("let all read it")?;
    // The mount keeps the file when its name is gone.
    bind_mount(file.path().as_ref(), "/etc/resolv.conf".as_ref())
}

fn bind_mount(from: &OsStr, to: &OsStr) -> Result<()> {
    let mount = Command::new("mount").arg("--bind").args([from, to]).output();
    let mount = mount.context("run mount, which is a part of util-linux")?;
    let stderr = String::from_utf8_lossy(&mount.stderr);
    ensure!(mount.status.success(), "mount {} on {}: {}", from.display(), to.display(), stderr.trim());
    Ok(())
}

/// Fails unless the program is in a private network: what listens on port 80 must not do so on the real machine.
pub(crate) fn ensure_inside() -> Result<()> {
    if env::var_os(INSIDE).is_none() {
        bail!("this runs in a private network only: call `network::enter` first thing in `main`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_settings_in_words() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(setting(sys.path()), None);
        fs::create_dir(sys.path().join("kernel")).unwrap();
        let clone = sys.path().join("kernel/unprivileged_userns_clone");
        fs::write(&clone, "1\n").unwrap();
        assert_eq!(setting(sys.path()), None);
        fs::write(&clone, "0\n").unwrap();
        assert!(setting(sys.path()).unwrap().contains("kernel.unprivileged_userns_clone is 0"));
    }
}
