//! `ingress-sso cleanup`: takes back all that the controller made, or makes it nobody's.
//!
//! It stands in for the controller meanwhile, with its Lease, index, plans and writer: see [`crate::controller::withdraw`].

mod found;
mod print;
mod rights;

use super::admission::{self, Installed};
use super::{CommandError, cluster};
use crate::cli::CleanupArgs;
use crate::controller::withdraw::{Way, WithdrawError, Withdrawal, withdraw};
use found::Found;
use kube::Client;
use print::Printer;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cleans up, and prints what was done. The exit code is 0 where nothing is left, and 1 where something is.
pub fn cleanup(args: &CleanupArgs) -> Result<ExitCode, CommandError> {
    args.plan.settings()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    runtime.block_on(clean_up(args))
}

async fn clean_up(args: &CleanupArgs) -> Result<ExitCode, CommandError> {
    let (client, usual_namespace) = cluster::client(&args.cluster).await?;
    let scope = args.scope(&usual_namespace)?;
    let Found { settings, lease, stop } = found::look(&client, args, &scope).await?;
    let lease = args.lease(lease, settings.keys.prefix(), &usual_namespace)?;
    let way = if args.keep_protection { Way::HandOver } else { Way::TakeBack };
    rights::check(&client, way, &scope, &lease, args.dry_run).await?;

    let settings = Arc::new(settings);
    let mut printer = Printer::new(way, args.dry_run, &settings.keys);
    if args.dry_run {
        print::warn_of_holder(found::holder(&client, &lease).await.as_deref(), &stop);
    }
    let interrupted = CancellationToken::new();
    tokio::spawn(cancel_on_interrupt(interrupted.clone()));
    let withdrawal = Withdrawal { way, scope, lease: Some(lease).filter(|_| !args.dry_run) };
    let mut tell = |change: &_| printer.tell(change);
    let withdrawn =
        withdraw(client.clone(), Arc::clone(&settings), &withdrawal, &interrupted, &mut tell).await;
    let withdrawn = match withdrawn {
        Err(error @ WithdrawError::Held { .. }) => {
            return Err(CommandError::StillRunning { error: error.to_string(), stop });
        }
        Err(error @ WithdrawError::WouldBeClosed(_)) => {
            return Err(CommandError::Closing {
                error: error.to_string(),
                policies: policies(&client).await,
            });
        }
        withdrawn => withdrawn.map_err(CommandError::Cleanup)?,
    };
    printer.sum_up(&withdrawn);
    Ok(if withdrawn.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The policies that close apps, where one may see them.
async fn policies(client: &Client) -> String {
    match admission::look(client).await {
        Installed::There(names) => names.join(", "),
        _ => "those that ingress-sso admission printed".to_owned(),
    }
}

/// So that what is under way ends, and the Lease is given up.
async fn cancel_on_interrupt(interrupted: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_ok() {
        interrupted.cancel();
    }
}
