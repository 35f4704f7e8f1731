//! Ages as kubectl prints them.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A time of so many seconds in one unit or two, the fewer the longer it is: `HumanDuration` of
/// `k8s.io/apimachinery/pkg/util/duration`, limit by limit.
pub(super) fn human(seconds: i64) -> String {
    match seconds {
        // Clocks differ a little; what was made in the future was not.
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds, (MINUTE, 'm'), (1, 's')),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds, (HOUR, 'h'), (MINUTE, 'm')),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds, (DAY, 'd'), (HOUR, 'h')),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds, (YEAR, 'y'), (DAY, 'd')),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// In two units, the smaller one left out where there are none of it.
fn two(seconds: i64, (large, large_name): (i64, char), (small, small_name): (i64, char)) -> String {
    let whole = format!("{}{large_name}", seconds / large);
    match seconds % large / small {
        0 => whole,
        rest => format!("{whole}{rest}{small_name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides of each limit.
    #[test]
    fn ages_are_those_of_kubectl() {
        for (seconds, wanted) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (1, "1s"),
            (70, "70s"),
            (119, "119s"),
            (2 * MINUTE, "2m"),
            (190, "3m10s"),
            (5 * MINUTE + 12, "5m12s"),
            (10 * MINUTE - 1, "9m59s"),
            (10 * MINUTE, "10m"),
            (70 * MINUTE, "70m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 10 * MINUTE, "3h10m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (8 * DAY - 1, "7d23h"),
            (9 * DAY + 4 * HOUR, "9d"),
            (400 * DAY, "400d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (3 * YEAR + 10 * DAY, "3y10d"),
            (8 * YEAR, "8y"),
            (9 * YEAR + 364 * DAY, "9y"),
        ] {
            assert_eq!(human(seconds), wanted, "{seconds}");
        }
    }
}
