//! How ingress controllers read a truth.

/// Whether Go's `strconv.ParseBool`, with which ingress-nginx reads annotations that are true or false, takes `value` for true.
pub fn is_go_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True")
}
