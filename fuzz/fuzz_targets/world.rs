//! Objects as JSON, and what the controller does in a cluster that holds them. The first byte chooses the settings.

#![no_main]

#[path = "../../tests/hostile/api_server.rs"]
mod api_server;
#[path = "../../tests/hostile/oracle.rs"]
mod oracle;
#[path = "../../tests/specification/validators.rs"]
mod validators;
#[path = "../../tests/hostile/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((variant, text)) = data.split_first() else { return };
    let Ok(objects) = serde_json::from_slice::<Vec<Value>>(text) else { return };
    if let Err(problem) = world::examine(objects, &world::settings(*variant)) {
        panic!("{problem}");
    }
});
