//! Whatever owners of namespaces write: no panic, no end without rest, and no request of the controller that anybody rejects, that
//! touches what is not its own, or that carries what they smuggled in.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what the rules are made of is fixed text, and a mistake in it should end the test; so should a broken rule"
)]

#[path = "hostile/answers.rs"]
mod answers;
#[path = "hostile/api_server.rs"]
mod api_server;
#[path = "hostile/generate.rs"]
mod generate;
#[path = "hostile/message.rs"]
mod message;
#[path = "hostile/oracle.rs"]
mod oracle;
#[path = "hostile/rendering.rs"]
mod rendering;
#[path = "specification/validators.rs"]
mod validators;
#[path = "hostile/world.rs"]
mod world;

use generate::{hostile, mutated_world, world};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{examine, examine_bytes, settings};

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
fn what_is_rendered_of_any_world_can_be_read_again() {
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
            let objects = rendering::examine(&stream, &settings(variant)).map_err(TestCaseError::fail)?;
            counts.objects.fetch_add(objects, Ordering::Relaxed);
        }
        Ok(())
    });
}

/// Those that the fuzzer begins with, which would be of no use if they said nothing to the controller.
#[test]
fn the_seeds_of_the_fuzzer_hold() {
    replay("world", |seed| examine_bytes(seed).map(|examined| examined.requests));
    replay("render", |seed| rendering::examine(text(seed), &settings(0)));
    replay("answers", |seed| answers::examine(text(seed)));
}

fn text(seed: &[u8]) -> &str {
    std::str::from_utf8(seed).expect("text")
}

/// Gives each seed of a target to `examine`, which says how much came of it.
fn replay(target: &str, examine: impl Fn(&[u8]) -> Result<usize, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut results = 0;
    for seed in folder.read_dir().expect("a folder of seeds") {
        let path = seed.expect("a seed").path();
        let seed = std::fs::read(&path).expect("a seed");
        results += examine(&seed).unwrap_or_else(|problem| panic!("{problem}\nfor {}", path.display()));
    }
    assert!(results > 0, "nothing came of any seed of {target}");
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
