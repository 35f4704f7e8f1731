//! Whatever owners of namespaces write: no panic, no end without rest, and no request of the controller that anybody rejects, that
//! touches what is not its own, or that carries what they smuggled in.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what the rules are made of is fixed text, and a mistake in it should end the test; so should a broken rule"
)]

#[path = "hostile/api_server.rs"]
mod api_server;
#[path = "hostile/generate.rs"]
mod generate;
#[path = "hostile/oracle.rs"]
mod oracle;
#[path = "specification/validators.rs"]
mod validators;
#[path = "hostile/world.rs"]
mod world;

use generate::{hostile, mutated_world, world};
use ingress_sso::commands::render_text;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{examine, settings};

/// How many worlds of each kind are tried unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 250;

#[test]
fn no_world_makes_the_controller_send_what_it_must_not() {
    hold("worlds", world());
}

#[test]
fn nor_does_one_in_which_anything_can_be_anywhere() {
    hold("mutated worlds", mutated_world());
}

#[test]
fn render_survives_every_world() {
    let counts = Counts::default();
    let worlds = (mutated_world(), any::<u8>(), hostile(), any::<prop::sample::Index>());
    counts.run("renderings", worlds, |(objects, variant, text, place)| {
        let documents: Vec<String> =
            objects.iter().filter_map(|object| serde_saphyr::to_string(object).ok()).collect();
        let mut stream = documents.join("---\n");
        for stream in [stream.clone(), {
            let places: Vec<usize> = stream.char_indices().map(|(place, _)| place).collect();
            stream.insert_str(*place.get(&places[..]), &text);
            stream
        }] {
            if let Ok(rendered) = render_text(&stream, settings(variant), Some("one")) {
                counts.objects.fetch_add(rendered.yaml.matches("\nkind: ").count(), Ordering::Relaxed);
            }
        }
        Ok(())
    });
}

/// Lets the controller work in each world.
fn hold(what: &str, worlds: impl Strategy<Value = Vec<Value>>) {
    let counts = Counts::default();
    counts.run(what, (worlds, any::<u8>()), |(objects, variant)| {
        let examined = examine(objects, &settings(variant)).map_err(TestCaseError::fail)?;
        counts.objects.fetch_add(examined.requests, Ordering::Relaxed);
        counts.rounds.fetch_max(examined.rounds, Ordering::Relaxed);
        Ok(())
    });
}

/// How much was looked at.
#[derive(Default)]
struct Counts {
    cases: AtomicUsize,
    objects: AtomicUsize,
    rounds: AtomicUsize,
}

impl Counts {
    /// Tries `test` with values of `strategy`, and prints how many there were.
    fn run<S: Strategy>(
        &self,
        what: &str,
        strategy: S,
        test: impl Fn(S::Value) -> Result<(), TestCaseError>,
    ) {
        let mut config = Config { failure_persistence: None, ..Config::default() };
        if std::env::var_os("PROPTEST_CASES").is_none() {
            config.cases = CASES;
        }
        let result = TestRunner::new(config).run(&strategy, |value| {
            self.cases.fetch_add(1, Ordering::Relaxed);
            test(value)
        });
        if let Err(TestError::Fail(reason, value)) = &result {
            let value: String = format!("{value:?}").chars().take(4000).collect();
            panic!("{reason}\nfor {value}");
        }
        result.expect("a run");
        let [cases, objects, rounds] =
            [&self.cases, &self.objects, &self.rounds].map(|count| count.load(Ordering::Relaxed));
        assert!(objects > 0 || cases < 100, "none of {cases} {what} made the controller do anything");
        println!("{what}: {cases} cases, {objects} objects, {rounds} rounds at most");
    }
}
