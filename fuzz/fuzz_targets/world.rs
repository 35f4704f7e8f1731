//! See `examine_bytes` in `tests/hostile/world.rs`.

#![no_main]

#[path = "../../tests/hostile/api_server.rs"]
mod api_server;
#[path = "../../tests/hostile/message.rs"]
mod message;
#[path = "../../tests/hostile/oracle.rs"]
mod oracle;
#[path = "../../tests/specification/validators.rs"]
mod validators;
#[path = "../../tests/hostile/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(problem) = world::examine_bytes(data) {
        panic!("{problem}");
    }
});
