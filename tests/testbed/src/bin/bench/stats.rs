//! Medians and percentiles.

/// The value that a share of `share` of all values does not exceed; `NaN` of nothing.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Between the two nearest, so that the median of two is their mean.
    let position = share * (count(sorted.len()) - 1.0).max(0.0);
    let below = position.floor();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an index")]
    let index = below as usize;
    match (sorted.get(index), sorted.get(index + 1)) {
        (Some(low), Some(high)) => low + (high - low) * (position - below),
        (Some(low), None) => *low,
        _ => f64::NAN,
    }
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The median of what `value` says of each of `items`.
pub(crate) fn median_of<T>(items: &[T], value: impl Fn(&T) -> f64) -> f64 {
    median(&items.iter().map(value).collect::<Vec<_>>())
}

/// A number of things, to calculate with.
#[allow(clippy::cast_precision_loss, reason = "nothing here is counted beyond 2^52")]
pub(crate) fn count(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_values() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(median(&[]).is_nan());
        assert!(close(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(&[4.0, 1.0]), 2.5));
        assert!(close(percentile(&[0.0, 100.0], 0.99), 99.0));
    }
}
