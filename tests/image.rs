//! The image, built without a container engine: what the Dockerfile copies is there, and what it runs makes one static
//! program. The second takes minutes and is left to `make image-check`.

#[path = "image/dockerfile.rs"]
mod dockerfile;
#[path = "image/musl.rs"]
mod musl;

use anyhow::{Context, Result, ensure};
use dockerfile::{Step, copy, is_in_context, run, stage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCKERFILE: &str = include_str!("../Dockerfile");
const DOCKERIGNORE: &str = include_str!("../.dockerignore");

/// The largest program that is still a small one, in bytes.
const MAX_SIZE: u64 = 20_000_000;

/// What keeps a step from being carried out in `make test`: it takes minutes.
const SLOW: &str = "cargo ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_is_copied_exists_and_is_not_ignored() -> Result<()> {
    let steps = stage(DOCKERFILE, "build")?;
    let copied: Vec<&String> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Copy(sources, _) => sources.as_slice(),
            Step::Run(_) => &[],
        })
        .collect();
    ensure!(copied.len() > 3, "{copied:?}");
    let license = "LICENSE".to_owned();
    for source in copied.into_iter().chain([&license]) {
        assert!(root().join(source).exists(), "{source}");
        assert!(is_in_context(DOCKERIGNORE, source), "{source} is ignored");
    }
    Ok(())
}

/// The layer of dependencies is built of manifests and empty sources, which cargo has to accept.
#[test]
fn the_manifests_suffice_for_the_layer_of_dependencies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for step in stage(DOCKERFILE, "build")? {
        match step {
            Step::Copy(sources, target) => {
                if sources.iter().any(|source| source == "src") {
                    break;
                }
                copy(root(), &sources, folder.path(), &target)?;
            }
            Step::Run(script) => {
                let quick: Vec<&str> =
                    script.split("&&").map(str::trim).filter(|part| !part.starts_with(SLOW)).collect();
                run(&quick.join(" && "), folder.path(), &[])?;
            }
        }
    }
    let args = ["metadata", "--format-version=1", "--locked", "--offline"];
    let output = Command::new(env!("CARGO")).args(args).current_dir(folder.path()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// As the tests are compiled, and not with whatever is newest.
#[test]
fn the_compiler_is_that_of_the_checkout() -> Result<()> {
    let toolchain = include_str!("../rust-toolchain.toml");
    let (_, rest) = toolchain.split_once("channel = \"").context("no channel")?;
    let channel = rest.split('"').next().unwrap_or_default();
    let image =
        DOCKERFILE.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).context("no version")?;
    ensure!(channel == image || channel.starts_with(&format!("{image}.")), "{channel} and {image}");
    Ok(())
}

#[test]
#[ignore = "takes minutes; run by `make image-check`"]
fn the_build_stage_makes_one_static_program() -> Result<()> {
    let program = build()?;
    let size = fs::metadata(&program)?.len();
    ensure!(size < MAX_SIZE, "{size} bytes");
    let said = Command::new(&program).arg("--version").env_clear().output().context("start it")?;
    let said = String::from_utf8(said.stdout)?;
    ensure!(said.trim() == concat!("ingress-sso ", env!("CARGO_PKG_VERSION")), "{said}");
    let headers = readelf(&program, "--program-headers")? + &readelf(&program, "--dynamic")?;
    ensure!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "it is not static: {headers}");
    ensure!(readelf(&program, "--sections")?.contains(".dep-v0"), "it does not carry its dependencies");
    eprintln!("{} has {size} bytes", program.display());
    Ok(())
}

/// Carries out the build stage below `target/image`, which is kept, and returns the program.
fn build() -> Result<PathBuf> {
    musl::add_target()?;
    let kept = root().join("target/image");
    let (folder, tools) = (kept.join("build"), kept.join("tools"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let target = musl::target();
    let path = std::env::var("PATH").context("no PATH")?;
    let variables = [
        ("PATH".to_owned(), format!("{}:{path}", tools.join("bin").display())),
        ("CARGO_INSTALL_ROOT".to_owned(), tools.display().to_string()),
        ("CARGO_TARGET_DIR".to_owned(), kept.join("target").display().to_string()),
        // Alpine's compiler has it as its own.
        ("CARGO_BUILD_TARGET".to_owned(), target.clone()),
        (format!("CC_{}", target.replace('-', "_")), musl::compiler()?.display().to_string()),
    ];
    for step in stage(DOCKERFILE, "build")? {
        match step {
            Step::Copy(sources, to) => copy(root(), &sources, &folder, &to)?,
            Step::Run(script) => run(&script, &folder, &variables)?,
        }
    }
    let copied = "COPY --from=build /build/target/release/ingress-sso /ingress-sso";
    ensure!(DOCKERFILE.lines().any(|line| line == copied), "the program is taken from elsewhere");
    Ok(kept.join("target").join(target).join("release/ingress-sso"))
}

fn readelf(program: &Path, what: &str) -> Result<String> {
    let output =
        Command::new("readelf").args(["--wide", what]).arg(program).output().context("run readelf")?;
    ensure!(output.status.success(), "readelf: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
