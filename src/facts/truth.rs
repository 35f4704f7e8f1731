//! How ingress controllers read what is true or false.

/// Whether Go's `strconv.ParseBool`, with which ingress-nginx reads annotations that are true or false, takes `value` for true.
pub fn is_go_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True")
}

/// Whether that, or Traefik in place of ingress-nginx, which reads any case of "true", takes `value` for true.
pub fn is_true_to_some(value: &str) -> bool {
    is_go_true(value) || value.eq_ignore_ascii_case("true")
}
