//! The pages say what the flags do, all of them, and name no flag that there is not.

use clap::{CommandFactory, Parser};
use ingress_sso::cli::Cli;

const CONFIGURATION: &str = include_str!("../docs/configuration.md");
const STATUS: &str = include_str!("../docs/status.md");
const UNINSTALL: &str = include_str!("../docs/uninstall.md");
const SCALING: &str = include_str!("../docs/scaling.md");

#[test]
fn every_flag_of_run_is_listed_with_its_variable_and_no_other() {
    let command = Cli::command();
    let run = command.find_subcommand("run").expect("run is a subcommand");
    let (_, tables) = CONFIGURATION.split_once("## `ingress-sso run`").expect("a table");
    let table = tables.split("\n## ").next().unwrap_or_default();
    let is_row = |line: &&str| line.starts_with("| `-");
    let mut listed: Vec<&str> = table.lines().filter(is_row).collect();
    for argument in run.get_arguments().filter(|argument| argument.get_id() != "help") {
        let flag = format!("--{}", argument.get_long().expect("a long name"));
        let variable = argument.get_env().and_then(|name| name.to_str()).expect("a variable");
        let row = listed.iter().position(|row| {
            row.contains(&format!("`{variable}`"))
                && (row.contains(&format!("`{flag}`")) || row.contains(&format!("`{flag} ")))
        });
        listed.remove(
            row.unwrap_or_else(|| panic!("docs/configuration.md does not list {flag} with {variable}")),
        );
    }
    assert!(listed.is_empty(), "docs/configuration.md lists flags that there are not: {listed:?}");
}

#[test]
fn every_flag_of_status_is_explained() {
    let command = Cli::command();
    let status = command.find_subcommand("status").expect("status is a subcommand");
    for argument in status.get_arguments().filter(|argument| argument.get_id() != "help") {
        let long = argument.get_long().expect("a long name");
        let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        assert!(STATUS.contains(&format!("| {short}`--{long}")), "docs/status.md does not explain --{long}");
    }
}

#[test]
fn every_flag_of_cleanup_is_explained_but_those_of_run() {
    let command = Cli::command();
    let [run, cleanup] = ["run", "cleanup"].map(|name| command.find_subcommand(name).expect("a subcommand"));
    let of_run: Vec<_> = run.get_arguments().filter_map(|argument| argument.get_long()).collect();
    for long in cleanup.get_arguments().filter_map(|argument| argument.get_long()) {
        let is_explained =
            UNINSTALL.contains(&format!("`--{long}`")) || UNINSTALL.contains(&format!("`--{long} "));
        let is_own =
            !of_run.contains(&long) || ["namespace", "lease-name", "lease-namespace"].contains(&long);
        assert!(is_explained || !is_own || long == "help", "docs/uninstall.md does not explain --{long}");
    }
}

#[test]
fn arguments_for_several_instances_are_valid() {
    let arguments: Vec<&str> =
        SCALING.lines().filter_map(|line| line.trim_start().strip_prefix("- --")).collect();
    assert!(!arguments.is_empty());
    let arguments = arguments.iter().map(|argument| format!("--{argument}"));
    Cli::try_parse_from(["ingress-sso".to_owned(), "run".to_owned()].into_iter().chain(arguments))
        .unwrap_or_else(|error| panic!("{error}"));
}
