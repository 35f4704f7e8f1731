//! Arguments in, subcommand out.

use clap::Parser;
use ingress_sso::cli::{Cli, Command};
use ingress_sso::commands;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => commands::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Render(args) => commands::render(&args),
        Command::Admission(args) => commands::admission(&args).map(|()| ExitCode::SUCCESS),
        Command::Status(args) => commands::status(&args).map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => commands::doctor(&args),
        Command::Cleanup(args) => commands::cleanup(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ingress-sso: {error}");
        ExitCode::from(2)
    })
}
