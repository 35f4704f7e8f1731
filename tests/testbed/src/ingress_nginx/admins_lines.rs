//! What the documentation tells admins of ingress-nginx to set, word for word.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../../docs/data-planes.md");

/// The data of the `ConfigMap` of ingress-nginx by which it rejects hosts and paths that outposts take for paths of their own, as a
/// controller with `--nginx-rejects-dot-segments` expects.
///
/// Fails where the documentation does not have them any more.
pub fn admins_lines() -> Result<BTreeMap<String, String>> {
    let (_, block) =
        PAGE.split_once("server-snippet: |\n").context("no server-snippet in docs/data-planes.md")?;
    let (lines, _) = block.split_once("```").context("it does not end")?;
    ensure!(lines.matches("return 400").count() == 3, "{lines}");
    Ok([("server-snippet".to_owned(), lines.to_owned())].into())
}
