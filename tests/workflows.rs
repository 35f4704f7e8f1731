//! The workflows on GitHub, as far as they can be judged without it: fewest rights, pinned actions, and what they call is
//! there.

#![expect(clippy::unwrap_used, reason = "a workflow of another form should end the test")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Jobs that may write, and what.
const WRITERS: [(&str, &str, &str); 4] = [
    ("release.yaml", "image", "packages"),
    ("release.yaml", "index", "packages"),
    ("release.yaml", "chart", "packages"),
    ("release.yaml", "release", "contents"),
];

fn workflows() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let parse = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let workflow = serde_saphyr::from_str(&fs::read_to_string(entry.path()).unwrap()).unwrap();
        (entry.file_name().into_string().unwrap(), workflow)
    };
    let workflows: BTreeMap<_, _> = fs::read_dir(folder).unwrap().map(parse).collect();
    assert!(workflows.contains_key("test.yaml") && workflows.contains_key("release.yaml"));
    workflows
}

/// All jobs: workflow, name, job.
fn jobs(workflows: &BTreeMap<String, Value>) -> impl Iterator<Item = (&str, &str, &Value)> {
    workflows.iter().flat_map(|(workflow, content)| {
        let jobs = content["jobs"].as_object().unwrap().iter();
        jobs.map(move |(name, job)| (workflow.as_str(), name.as_str(), job))
    })
}

/// All steps: workflow, step.
fn steps(workflows: &BTreeMap<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    jobs(workflows).flat_map(|(workflow, _, job)| {
        job["steps"].as_array().unwrap().iter().map(move |step| (workflow, step))
    })
}

#[test]
fn jobs_may_write_only_what_they_publish() {
    let workflows = workflows();
    for (name, workflow) in &workflows {
        assert_eq!(workflow["permissions"], serde_json::json!({ "contents": "read" }), "{name}");
    }
    let mut writers = BTreeSet::new();
    for (workflow, name, job) in jobs(&workflows) {
        for (scope, right) in job["permissions"].as_object().into_iter().flatten() {
            assert!(["read", "write"].contains(&right.as_str().unwrap()), "{workflow}, {name}: {right}");
            if right == "write" {
                writers.insert((workflow, name, scope.as_str()));
            }
        }
    }
    assert_eq!(writers, BTreeSet::from(WRITERS));
}

#[test]
fn every_job_ends_by_itself() {
    for (workflow, name, job) in jobs(&workflows()) {
        assert!(job["timeout-minutes"].as_u64().is_some_and(|minutes| minutes <= 90), "{workflow}, {name}");
    }
}

#[test]
fn actions_are_pinned_and_none_keeps_the_token() {
    let workflows = workflows();
    let mut count = 0;
    for (workflow, step) in steps(&workflows) {
        let Some(action) = step["uses"].as_str() else { continue };
        count += 1;
        let (name, version) = action.split_once('@').unwrap();
        let is_major = version.strip_prefix('v').is_some_and(|major| major.parse::<u32>().is_ok());
        let is_commit = version.len() == 40 && version.chars().all(|c| c.is_ascii_hexdigit());
        assert!(is_major || is_commit, "{workflow}: {action}");
        assert!(name != "actions/checkout" || step["with"]["persist-credentials"] == false, "{workflow}");
    }
    assert!(count > 10);
}

/// A script in which a value is pasted runs whatever is in that value; variables are safe.
#[test]
fn nothing_is_pasted_into_scripts() {
    let workflows = workflows();
    for (workflow, step) in steps(&workflows) {
        let script = step["run"].as_str().unwrap_or_default();
        assert!(!script.contains("${{"), "{workflow}: {script}");
    }
}

#[test]
fn what_they_make_is_in_the_makefile() {
    let makefile = include_str!("../Makefile");
    let workflows = workflows();
    let called: BTreeSet<&str> =
        steps(&workflows).filter_map(|(_, step)| step["run"].as_str()?.strip_prefix("make ")).collect();
    assert!(called.contains("test"));
    for target in called {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}

#[test]
fn the_image_that_is_published_is_the_one_that_is_installed() {
    let image = workflows()["release.yaml"]["env"]["IMAGE"].as_str().unwrap().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    let manifests = include_str!("../deploy/install.yaml");
    assert!(manifests.contains(&format!("image: {image}:{version}\n")), "{image}");
}

/// Both architectures, with what went into them and how they were made.
#[test]
fn images_have_two_architectures_and_say_what_they_are_made_of() {
    let workflows = workflows();
    let job = &workflows["release.yaml"]["jobs"]["image"];
    let rows = job["strategy"]["matrix"]["include"].as_array().unwrap();
    let architectures: Vec<_> = rows.iter().map(|row| row["architecture"].as_str().unwrap()).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    let pushed = job["steps"].as_array().unwrap().iter().find(|step| step["id"] == "push").unwrap();
    assert_eq!(pushed["with"]["sbom"], true);
    assert_eq!(pushed["with"]["provenance"], "mode=max");
}

/// The rest of a release depends on the tag being that of the sources.
#[test]
fn nothing_is_published_before_the_version_is_checked() {
    let workflows = workflows();
    for (workflow, name, job) in jobs(&workflows).filter(|(workflow, ..)| *workflow == "release.yaml") {
        let needs = &job["needs"];
        let is_checked = needs == "version"
            || needs.as_array().is_some_and(|needs| needs.iter().any(|need| need == "version"));
        assert!(name == "version" || is_checked, "{workflow}, {name}");
    }
}
