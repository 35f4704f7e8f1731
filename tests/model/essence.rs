//! What tells one moment from another. Versions and uids are numbers that grow: two moments are the same where only the numbers
//! differ, and not their order.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Versions begin with this one, which is told from everything else in a text by its digits.
pub(crate) const FIRST_VERSION: u64 = 7_000_000_000;

const DIGITS: usize = 10;
const UID: &str = "00000000-0000-4000-8000-";
const UID_DIGITS: usize = 12;

/// A text without its versions and uids, and these.
#[derive(Clone, Debug)]
pub(crate) struct Essence {
    text: u64,
    numbers: Vec<u64>,
}

impl Essence {
    pub(crate) fn of(text: &str) -> Self {
        let (mut hasher, mut numbers) = (DefaultHasher::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let (number, length) = number_at(rest).unwrap_or((0, 0));
            if length > 0 {
                hasher.write_u8(0xff);
                numbers.push(number);
                rest = &rest[length..];
            } else {
                // Up to where the next number can begin.
                let end = rest[1..].find(['7', '0']).map_or(rest.len(), |end| end + 1);
                hasher.write(&rest.as_bytes()[..end]);
                rest = &rest[end..];
            }
        }
        Self { text: hasher.finish(), numbers }
    }
}

/// The version or uid at the start of `text`, and its length.
fn number_at(text: &str) -> Option<(u64, usize)> {
    if let Some(uid) = text.strip_prefix(UID) {
        let number = u64::from_str_radix(uid.get(..UID_DIGITS)?, 16).ok()?;
        return Some((number, UID.len() + UID_DIGITS));
    }
    let number: u64 = text.get(..DIGITS)?.parse().ok()?;
    (FIRST_VERSION..FIRST_VERSION + 100_000).contains(&number).then_some((number, DIGITS))
}

/// Gathers what a moment consists of.
#[derive(Default)]
pub(crate) struct Print {
    hasher: DefaultHasher,
    numbers: Vec<u64>,
}

impl Print {
    pub(crate) fn add(&mut self, part: impl Hash) {
        part.hash(&mut self.hasher);
    }

    pub(crate) fn add_essence(&mut self, essence: &Essence) {
        essence.text.hash(&mut self.hasher);
        self.numbers.extend(&essence.numbers);
    }

    pub(crate) fn add_number(&mut self, number: Option<u64>) {
        number.is_some().hash(&mut self.hasher);
        self.numbers.extend(number);
    }

    pub(crate) fn finish(mut self) -> u64 {
        let mut order = self.numbers.clone();
        order.sort_unstable();
        order.dedup();
        for number in self.numbers {
            order.binary_search(&number).hash(&mut self.hasher);
        }
        self.hasher.finish()
    }
}
