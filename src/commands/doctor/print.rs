//! Checks as people read them, and as programs do.

use super::check::{Check, Level};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::fmt::Write;

/// One line for each check, with the remedy below it, and how many there are of each kind. In colour, for
/// [`anstream`] to take out where it is not wanted.
pub(super) fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { level, subject, finding, remedy } in checks {
        let style = style(*level);
        let sign = sign(*level);
        let _ = writeln!(text, "{style}{sign}{style:#} {subject}: {finding}");
        for line in remedy.iter().flat_map(|remedy| remedy.lines()) {
            let _ = writeln!(text, "    {line}");
        }
    }
    let _ = writeln!(text, "\n{}", summary(checks));
    text
}

/// An object with the list `checks`.
pub(super) fn json(checks: &[Check]) -> String {
    // Nothing in it can fail to be JSON.
    let report = serde_json::to_string_pretty(&Report { checks });
    report.unwrap_or_default() + "\n"
}

#[derive(Serialize)]
struct Report<'a> {
    checks: &'a [Check],
}

fn sign(level: Level) -> char {
    match level {
        Level::Good => '✓',
        Level::Unchecked => '-',
        Level::Catch => '!',
        Level::Wrong => '✗',
    }
}

fn style(level: Level) -> Style {
    match level {
        Level::Good => AnsiColor::Green.on_default(),
        Level::Unchecked => AnsiColor::BrightBlack.on_default(),
        Level::Catch => AnsiColor::Yellow.on_default().bold(),
        Level::Wrong => AnsiColor::Red.on_default().bold(),
    }
}

fn summary(checks: &[Check]) -> String {
    let of = |level| checks.iter().filter(|check| check.level == level).count();
    let count = |level, words: &str| format!("{} {words}", of(level));
    let mut parts =
        vec![count(Level::Good, "good"), count(Level::Catch, "with a catch"), count(Level::Wrong, "wrong")];
    if of(Level::Unchecked) > 0 {
        parts.push(count(Level::Unchecked, "not checked"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    fn checks() -> [Check; 4] {
        [
            Check::good("rights", "all there"),
            Check::catch("class nginx", "who serves it?").remedy("look\nand say so"),
            Check::unchecked("ingress-nginx", "no Pod found"),
            Check::wrong("Ingress shop/web", "refused"),
        ]
    }

    #[test]
    fn a_line_a_check_and_the_remedy_below_it() {
        let expected = "\
✓ rights: all there
! class nginx: who serves it?
    look
    and say so
- ingress-nginx: not checked: no Pod found
✗ Ingress shop/web: refused

1 good, 1 with a catch, 1 wrong, 1 not checked
";
        assert_eq!(strip_str(&text(&checks())).to_string(), expected);
        assert!(text(&checks()).contains("\u{1b}[32m✓\u{1b}[0m rights"), "{:?}", text(&checks()));
    }

    #[test]
    fn objects_have_the_same_fields_whatever_was_found() {
        let expected = r#"{
  "checks": [
    {
      "level": "good",
      "subject": "rights",
      "finding": "all there",
      "remedy": null
    },
    {
      "level": "catch",
      "subject": "class nginx",
      "finding": "who serves it?",
      "remedy": "look\nand say so"
    }
  ]
}
"#;
        assert_eq!(json(&checks()[..2]), expected);
    }
}
