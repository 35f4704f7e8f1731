//! See `tests/hostile/rendering.rs`.

#![no_main]

#[path = "../../tests/hostile/rendering.rs"]
mod rendering;

use ingress_sso::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let url = "http://ak-outpost-alpha.authentik.svc.cluster.local:9000";
    let address = url.parse().expect("the URL of an outpost");
    let settings = Settings { outposts: [("alpha".to_owned(), address)].into(), ..Settings::default() };
    if let Err(problem) = rendering::examine(text, &settings) {
        panic!("{problem}");
    }
});
