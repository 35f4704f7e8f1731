//! Leaving tests out on a machine that cannot run them: never in CI, and never without a word.

use std::{env, fmt::Display};

use anyhow::{Result, bail};

/// Says in one line on standard error that `what` is left out, and why.
///
/// Fails with the same words when the environment variable `CI` is set to anything: a run that is to prove something
/// must not pass because it could not look.
pub fn skip(what: &str, reason: &dyn Display) -> Result<()> {
    let line = decide(what, reason, env::var_os("CI").is_some_and(|value| !value.is_empty()))?;
    eprintln!("{line}");
    Ok(())
}

/// The line to print, or the error that takes its place in CI.
fn decide(what: &str, reason: &dyn Display, ci: bool) -> Result<String> {
    let reason = reason.to_string().replace('\n', "; ");
    if ci {
        bail!("CI is set, and so {what} must not be left out: {reason}");
    }
    Ok(format!("testbed: SKIPPED: {what}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loud_line_by_hand_and_an_error_in_ci() {
        let line = decide("the end-to-end tests", &"no unshare\nno luck", false).unwrap();
        assert_eq!(line, "testbed: SKIPPED: the end-to-end tests: no unshare; no luck");
        let error = decide("the end-to-end tests", &"no unshare", true).unwrap_err().to_string();
        assert!(error.contains("CI is set") && error.contains("no unshare"), "{error}");
    }
}
