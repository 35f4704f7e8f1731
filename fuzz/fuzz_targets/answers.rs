//! See `tests/hostile/answers.rs`.

#![no_main]

#[path = "../../tests/hostile/answers.rs"]
mod answers;
#[path = "../../tests/hostile/message.rs"]
mod message;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problem) = answers::examine(text) {
        panic!("{problem}");
    }
});
