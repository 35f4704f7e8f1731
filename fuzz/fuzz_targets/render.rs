//! Any text as the input of `ingress-sso render`: what comes out can be read again.

#![no_main]

use ingress_sso::commands::render_text;
use ingress_sso::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let url = "http://ak-outpost-alpha.authentik.svc.cluster.local:9000";
    let address = url.parse().expect("the URL of an outpost");
    let settings = Settings { outposts: [("alpha".to_owned(), address)].into(), ..Settings::default() };
    if let Ok(rendered) = render_text(text, settings.clone(), Some("one")) {
        let again = render_text(&rendered.yaml, settings, Some("one"));
        assert!(again.is_ok(), "{again:?}\nof {}", rendered.yaml);
    }
});
