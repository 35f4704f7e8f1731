//! Numbers in environment variables, by which people choose how much is tried.

use anyhow::{Result, anyhow};
use std::ffi::OsStr;
use std::fmt::Display;
use std::str::FromStr;

/// The number in the environment variable, or `usual` where there is none. Anything else in it is an error: a mistake in it would
/// otherwise try less than is believed.
pub fn number<T: FromStr<Err: Display> + Display>(variable: &str, usual: T) -> Result<T> {
    parse(variable, std::env::var_os(variable).as_deref(), usual)
}

fn parse<T: FromStr<Err: Display> + Display>(variable: &str, value: Option<&OsStr>, usual: T) -> Result<T> {
    let Some(value) = value else { return Ok(usual) };
    let value = value.to_string_lossy();
    value.parse().map_err(|error| {
        anyhow!("{variable} is {value:?}: {error}; give a whole number, or leave it out for {usual}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_named_and_not_passed_over() {
        let parse = |value: Option<&str>| parse("DEPTH", value.map(OsStr::new), 3_u8);
        assert_eq!(parse(None).unwrap(), 3);
        assert_eq!(parse(Some("7")).unwrap(), 7);
        for wrong in ["ten", "", "-1", "256", "1.5"] {
            let error = parse(Some(wrong)).unwrap_err().to_string();
            assert!(error.contains(&format!("DEPTH is {wrong:?}: ")), "{error}");
            assert!(error.contains("leave it out for 3"), "{error}");
        }
    }
}
