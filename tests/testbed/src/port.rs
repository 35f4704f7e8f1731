//! Ports that are free, and stay so over a restart.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up). A port from
/// that range may be gone when a server that was killed comes back to it.
const RANGE: Range<u16> = 20_000..32_000;

/// Counts up from a random start: unique in a process, and two processes seldom meet.
#[expect(clippy::cast_possible_truncation, reason = "any 32 bits are as random as the others")]
static NEXT: LazyLock<AtomicU32> =
    LazyLock::new(|| AtomicU32::new(RandomState::new().hash_one(std::process::id()) as u32));

/// Returns a TCP port of 127.0.0.1 on which nothing listens now, and that no other call in this process got.
///
/// Another process may still take it before it is used. Fails when every port of the range is taken.
pub fn free() -> Result<u16> {
    for _ in RANGE {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % u32::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(offset)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free TCP port on 127.0.0.1 in {RANGE:?}")
}
