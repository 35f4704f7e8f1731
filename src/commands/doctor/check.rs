//! What a look at one thing came to.

use serde::Serialize;
use std::process::ExitCode;

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Nobody could look.
    Unchecked,
    /// It works, with a catch that somebody should know.
    Catch,
    /// Somebody has to change something.
    Wrong,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How well it is.
    pub level: Level,
    /// What was looked at, such as `Ingress shop/web`.
    pub subject: String,
    /// What was found.
    pub finding: String,
    /// What to do about it: a command, or where to click in authentik.
    pub remedy: Option<String>,
}

impl Check {
    /// All is well with `subject`.
    pub fn good(subject: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(Level::Good, subject, finding)
    }

    /// There is a catch.
    pub fn catch(subject: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(Level::Catch, subject, finding)
    }

    /// Something is wrong.
    pub fn wrong(subject: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(Level::Wrong, subject, finding)
    }

    /// It could not be looked at, for `reason`.
    pub fn unchecked(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Level::Unchecked, subject, format!("not checked: {}", reason.into()))
    }

    fn new(level: Level, subject: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { level, subject: subject.into(), finding: finding.into(), remedy: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The same with a text that says in its first sentence what was found and in the others what to do.
    pub(super) fn explained(level: Level, subject: impl Into<String>, text: &str) -> Self {
        match text.split_once(". ") {
            Some((finding, remedy)) => Self::new(level, subject, finding).remedy(remedy),
            None => Self::new(level, subject, text),
        }
    }
}

/// 0 where all that was looked at is well, 1 where there are catches only, 2 where something is wrong.
pub(super) fn exit_code(checks: &[Check]) -> ExitCode {
    match checks.iter().map(|check| check.level).max() {
        Some(Level::Wrong) => ExitCode::from(2),
        Some(Level::Catch) => ExitCode::from(1),
        Some(Level::Good | Level::Unchecked) | None => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides_about_the_exit_code() {
        let [good, unchecked] = [Check::good("a", "b"), Check::unchecked("a", "b")];
        let [catch, wrong] = [Check::catch("a", "b"), Check::wrong("a", "b")];
        assert_eq!(exit_code(&[]), ExitCode::SUCCESS);
        assert_eq!(exit_code(&[good.clone(), unchecked.clone()]), ExitCode::SUCCESS);
        assert_eq!(exit_code(&[catch.clone(), unchecked]), ExitCode::from(1));
        assert_eq!(exit_code(&[wrong, catch, good]), ExitCode::from(2));
    }
}
