//! What the pages say can be done: links lead somewhere, command lines are understood, manifests are accepted.

#![expect(clippy::unwrap_used, reason = "a page of another form should end the test")]

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/page.rs"]
mod page;
#[path = "docs/tables.rs"]
mod tables;

use anyhow::{Context, Result, ensure};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use futures::{StreamExt, stream};
use ingress_sso::cli::{Cli, Command};
use ingress_sso::contract::Keys;
use ingress_sso_testbed::builders::namespace;
use ingress_sso_testbed::control_plane::ControlPlane;
use ingress_sso_testbed::kubectl::{kubectl, kubectl_with_input};
use ingress_sso_testbed::traefik::install_crds;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use page::{Page, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Set to have the tables of flags written and not compared.
const UPDATE: &str = "UPDATE_DOCS";

/// Verbs of kubectl that change nothing. Every other is tried with `--dry-run=server`.
const READING: [&str; 8] = ["get", "describe", "logs", "events", "auth", "config", "version", "wait"];

/// What kubectl says where all is well but for what is not there, and where it cannot be tried further.
const UNDERSTOOD: [&str; 7] = [
    "(NotFound)",
    "namespaces \"n8n-prd\" not found",
    "no matching resources found",
    "can't be used with attached containers options",
    // Named in prose, or fed by a pipe, or with a file of the reader's.
    "must specify one of -f and -k",
    "no objects passed to",
    "the path \"install.yaml\" does not exist",
];

/// How many kubectl run at once.
const AT_ONCE: usize = 4;

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<PathBuf, Page> =
        Page::all().into_iter().map(|page| (page.path.clone(), page)).collect();
    let mut dead = Vec::new();
    for page in pages.values() {
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                page.path.clone()
            } else {
                normal(&page.path.parent().unwrap_or(Path::new("")).join(path))
            };
            let has_anchor = || pages.get(&target).is_some_and(|target| target.anchors.contains(anchor));
            if !root().join(&target).exists() || !(anchor.is_empty() || has_anchor()) {
                dead.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_page_is_in_the_index() {
    let index = Page::read("docs/README.md");
    for page in Page::all() {
        let is_of_docs = page.path.parent() == Some(Path::new("docs")) && page.path != index.path;
        let name = page.path.file_name().unwrap().to_string_lossy();
        let is_listed = index.links.iter().any(|link| *link == name);
        assert!(!is_of_docs || is_listed, "docs/README.md does not list {name}");
    }
}

#[test]
fn all_annotations_are_listed_and_no_page_has_another() {
    let keys = Keys::default();
    let (read, written) = (
        [&keys.opt_in, &keys.outpost, &keys.auth_route, &keys.scheme],
        [&keys.status, &keys.message, &keys.headers_uid],
    );
    let annotations = Page::read("docs/annotations.md").text;
    let (ours, theirs) = annotations.split_once("## What the controller writes").unwrap();
    let rows = |text: &str| -> BTreeSet<String> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `sso.djieno.com/")?.split('`').next());
        rows.map(|name| format!("sso.djieno.com/{name}")).collect()
    };
    assert_eq!(rows(ours), read.into_iter().cloned().collect());
    assert_eq!(rows(theirs), written.into_iter().cloned().collect());
    for page in Page::all() {
        for rest in page.text.split("sso.djieno.com/").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let key = format!("sso.djieno.com/{name}");
            let is_known = read.iter().chain(&written).any(|known| **known == key) || key == keys.app;
            assert!(name.is_empty() || is_known, "{}: {key}", page.path.display());
        }
    }
}

/// `make docs` writes them.
#[test]
fn the_tables_of_flags_are_those_of_the_command_line() {
    let page = Page::read("docs/configuration.md");
    let (begin, end) = ("<!-- tables -->\n", "<!-- end of tables -->\n");
    let (before, rest) = page.text.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let wanted = format!("\n{}", tables::flags());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(root().join(&page.path), [before, begin, &wanted, end, after].concat()).unwrap();
    } else {
        assert_eq!(found, wanted, "run `make docs`");
    }
}

#[test]
fn no_page_names_a_variable_that_there_is_not() {
    let command = Cli::command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: BTreeSet<String> =
        arguments.filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned())).collect();
    for page in Page::all() {
        for rest in page.text.split("INGRESS_SSO_").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let variable = format!("INGRESS_SSO_{name}");
            assert!(known.contains(&variable), "{}: {variable}", page.path.display());
        }
    }
}

#[test]
fn every_command_line_of_ours_is_understood() {
    let mut count = 0;
    for line in Page::all().iter().flat_map(|page| commands::of_program(page, "ingress-sso")) {
        count += 1;
        let settings = match Cli::try_parse_from(&line.words) {
            Ok(Cli { command: Command::Run(args) }) => args.plan.settings().map(drop),
            Ok(Cli { command: Command::Render(args) }) => args.plan.settings().map(drop),
            Ok(Cli { command: Command::Doctor(args) }) => args.plan.settings().map(drop),
            Ok(_) => Ok(()),
            Err(error) if line.is_mention && error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
            Err(error) => panic!("{line:?}: {error}"),
        };
        settings.unwrap_or_else(|error| panic!("{line:?}: {error}"));
    }
    assert!(count > 10, "{count}");
}

#[tokio::test]
async fn every_command_line_of_kubectl_is_understood() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    install_crds(plane).await?;
    let pages = Page::all();
    let lines: BTreeSet<_> = pages.iter().flat_map(|page| commands::of_program(page, "kubectl")).collect();
    assert!(lines.len() > 20, "{lines:?}");
    let tries = stream::iter(lines).map(|line| async move {
        let mut words: Vec<&str> = line.words[1..].iter().map(String::as_str).collect();
        if line.is_mention && words.len() == 1 {
            words.push("--help");
        } else if !words.iter().any(|word| READING.contains(word)) {
            let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
            words.insert(end, "--dry-run=server");
        }
        let error = format!("{:#}", kubectl(plane.kubeconfig(), &words).await.err()?);
        let is_understood = UNDERSTOOD.iter().any(|text| error.contains(text));
        (!is_understood).then(|| format!("{}: {error}", line.page))
    });
    let failures: Vec<Option<String>> = tries.buffer_unordered(AT_ONCE).collect().await;
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[tokio::test]
async fn every_manifest_is_accepted_and_every_fragment_is_yaml() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    install_crds(plane).await?;
    let namespaces: Api<Namespace> = Api::all(plane.client()?);
    let mut count = 0;
    for page in Page::all() {
        for (_, text) in page.blocks.iter().filter(|(language, _)| language == "yaml") {
            for document in text.split("\n---\n") {
                let what = || format!("{}:\n{document}", page.path.display());
                let object: Value = serde_saphyr::from_str(document).with_context(what)?;
                // A kustomization is for kubectl and no object; the tests of the chart render it.
                let is_kustomization = object["kind"] == "Kustomization";
                if object["apiVersion"].is_null() || object["kind"].is_null() || is_kustomization {
                    continue;
                }
                if let Some(name) = object["metadata"]["namespace"].as_str() {
                    match namespaces.create(&PostParams::default(), &namespace(name)).await {
                        Err(kube::Error::Api(status)) if status.code == 409 => {}
                        created => drop(created?),
                    }
                }
                let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
                kubectl_with_input(plane.kubeconfig(), &args, document).await.with_context(what)?;
                count += 1;
            }
        }
    }
    assert!(count > 5, "{count}");
    Ok(())
}

/// Every right of the manifests is explained, and no other.
#[test]
fn all_rights_are_explained() -> Result<()> {
    let manifests = include_str!("../deploy/install.yaml");
    let mut granted = BTreeSet::new();
    for document in manifests.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document)?;
        for rule in object["rules"].as_array().into_iter().flatten() {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                let verbs = rule["verbs"].as_array().into_iter().flatten();
                granted.extend(verbs.map(|verb| format!("| `{}` | `{}` |", text(resource), text(verb))));
            }
        }
    }
    let page = Page::read("docs/security.md").text;
    let (_, rest) = page.split_once("| resource | verb | what for |\n|---|---|---|\n").context("no table")?;
    let rows = rest.lines().take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.splitn(4, '|').take(3).collect::<Vec<_>>().join("|") + "|");
    assert_eq!(cells.collect::<BTreeSet<_>>(), granted);
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `path` without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts
}
