//! The tables of flags, as the command line has them.

use clap::{Arg, Command, CommandFactory};
use ingress_sso::cli::Cli;
use std::collections::BTreeSet;
use std::fmt::Write;

/// One table for each subcommand. What `run` has too is only named.
pub(crate) fn flags() -> String {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let of_run: BTreeSet<String> = arguments(run).map(row).collect();
    let mut text = String::new();
    for subcommand in command.get_subcommands() {
        let about = subcommand.get_about().unwrap().to_string();
        let _ = write!(text, "## `ingress-sso {}`\n\n{}\n\n", subcommand.get_name(), sentence(&about));
        let is_new = |argument: &&Arg| subcommand.get_name() == "run" || !of_run.contains(&row(argument));
        text.push_str("| flag | variable | default | meaning |\n|---|---|---|---|\n");
        text.extend(arguments(subcommand).filter(is_new).map(row));
        let shared: Vec<String> =
            arguments(subcommand).filter(|argument| !is_new(argument)).map(name).collect();
        if !shared.is_empty() {
            let _ = write!(text, "\nAnd, as for `run`: {}.\n", shared.join(", "));
        }
        text.push('\n');
    }
    text
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| argument.get_id() != "help")
}

fn name(argument: &Arg) -> String {
    argument.get_long().map_or_else(|| format!("`{}`", value(argument)), |long| format!("`--{long}`"))
}

/// The words that it allows, or what stands for its value.
fn value(argument: &Arg) -> String {
    let words: Vec<_> =
        argument.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    if !words.is_empty() {
        return words.join("|");
    }
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn row(argument: &Arg) -> String {
    let value = value(argument);
    let takes_value = argument.get_action().takes_values();
    let flag = match argument.get_long() {
        Some(long) if takes_value => format!("`--{long} {value}`"),
        Some(long) => format!("`--{long}`"),
        None => format!("`{value}`"),
    };
    let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let variable = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let defaults = argument.get_default_values().iter().filter(|_| takes_value);
    let default: Vec<String> = defaults.map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let help = argument.get_long_help().or(argument.get_help()).unwrap().to_string();
    let cells = [format!("{short}{flag}"), variable, default.join(", "), sentence(&help)];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// In one line, with what belongs into code marked as such.
fn sentence(help: &str) -> String {
    let words: Vec<String> = help.split_whitespace().map(marked).collect();
    let text = words.join(" ");
    if text.ends_with('.') { text } else { format!("{text}.") }
}

fn marked(word: &str) -> String {
    let end = word.trim_end_matches(['.', ',', ':', ';', ')']);
    let (start, rest) = (end.trim_start_matches('('), &word[end.len()..]);
    let opening = &end[..end.len() - start.len()];
    let is_code = start.starts_with("--") || start.starts_with('/') || start.contains(['=', '_']);
    if is_code { format!("{opening}`{start}`{rest}") } else { word.to_owned() }
}
