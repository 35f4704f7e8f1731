//! The build stage of the Dockerfile, and carrying it out without a container engine.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Component, Path};
use std::process::Command;

/// A step of a stage that leaves something behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Copies from the checkout: sources, and where to.
    Copy(Vec<String>, String),
    /// A script.
    Run(String),
}

/// The steps of the stage `name` in `dockerfile`, in order.
pub(crate) fn stage(dockerfile: &str, name: &str) -> Result<Vec<Step>> {
    let comment = |line: &&str| !line.trim_start().starts_with('#');
    let text: Vec<&str> = dockerfile.lines().filter(comment).collect();
    let text = text.join("\n").replace("\\\n", " ");
    let mut lines = text.lines().skip_while(|line| !line.ends_with(&format!(" AS {name}")));
    lines.next().with_context(|| format!("no stage {name}"))?;
    let mut steps = Vec::new();
    for line in lines.take_while(|line| !line.starts_with("FROM ")) {
        let Some((instruction, rest)) = line.split_once(' ') else { continue };
        match instruction {
            "COPY" => {
                let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
                let target = words.pop().context("COPY without words")?;
                ensure!(!words.iter().any(|word| word.starts_with("--")), "not understood: {line}");
                steps.push(Step::Copy(words, target));
            }
            "RUN" => steps.push(Step::Run(rest.to_owned())),
            "WORKDIR" => {}
            _ => bail!("not understood: {line}"),
        }
    }
    Ok(steps)
}

/// Copies `sources`, below `from`, to `target` below `to`, as COPY does: what is in a folder, and a file by its name.
pub(crate) fn copy(from: &Path, sources: &[String], to: &Path, target: &str) -> Result<()> {
    let into = to.join(target);
    for source in sources {
        let path = from.join(source);
        if path.is_dir() {
            copy_folder(&path, &into)?;
        } else {
            fs::create_dir_all(&into)?;
            let name = path.file_name().context("a file without a name")?;
            fs::copy(&path, into.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Runs `script` in `folder`, with `variables` set; an error where it fails.
pub(crate) fn run(script: &str, folder: &Path, variables: &[(String, String)]) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder).envs(variables.iter().cloned());
    let status = command.status().context("run sh")?;
    ensure!(status.success(), "{status}: {script}");
    Ok(())
}

/// Whether `.dockerignore` lets `path` into a build: it leaves out all but what it names.
pub(crate) fn is_in_context(dockerignore: &str, path: &str) -> bool {
    let named = dockerignore.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new);
    let path = Path::new(path);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain && dockerignore.lines().any(|line| line == "*") && { named }.any(|named| path.starts_with(named))
}
