//! What people wrote, in messages to other people: in one line, and never so long that the API takes no message at all. An
//! annotation may hold 256 KiB, and a path more.

use crate::facts::is_dns_subdomain;

/// Longest quotation in bytes; enough for any URL that is worth reading.
const MAX: usize = 256;

/// Names in a list; a cluster with more outposts than that needs no longer text.
const MAX_NAMES: usize = 20;

/// `text` with all that is not to be printed spelled out, and cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        let spelled = if char == '\'' { char.to_string() } else { char.escape_debug().to_string() };
        if shown.len() + spelled.len() > MAX {
            shown.push('…');
            break;
        }
        shown.push_str(&spelled);
    }
    shown
}

/// The same between quotation marks.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// `name` for a command to be copied from a message, or `placeholder` where no command could take it.
pub(crate) fn pasted<'a>(name: &'a str, placeholder: &'a str) -> &'a str {
    if is_dns_subdomain(name) { name } else { placeholder }
}

/// Names, one after the other.
pub(crate) fn list(names: &[String]) -> String {
    let some = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        _ if names.is_empty() => "none".to_owned(),
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_one_short_line() {
        assert_eq!(quoted("on"), "\"on\"");
        assert_eq!(quoted("a\n\"b\"\u{202e}"), "\"a\\n\\\"b\\\"\\u{202e}\"");
        for part in ["x", "é", "\n", "\u{202e}"] {
            let long = quoted(&part.repeat(100_000));
            assert!(long.ends_with("…\"") && long.len() <= MAX + "…\"\"".len(), "{long}");
        }
    }

    #[test]
    fn only_names_are_pasted() {
        assert_eq!(pasted("proxy-outpost", "NAME"), "proxy-outpost");
        assert_eq!(pasted("x; reboot", "NAME"), "NAME");
    }

    #[test]
    fn a_list_has_an_end() {
        let names: Vec<String> = (0..22).map(|number| number.to_string()).collect();
        assert_eq!((list(&[]).as_str(), list(&names[..2]).as_str()), ("none", "0, 1"));
        assert!(list(&names).ends_with(", 19 and 2 more"));
    }
}
