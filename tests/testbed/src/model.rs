//! All that can happen in a small world, tried in every order.

use anyhow::{Result, ensure};
use stateright::{Checker, Expectation, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Tries all that can happen in the world `model`; how much that was goes to standard error. The error names each property that
/// does not hold, with what `explain` says of the state in which it does not, and all that led there.
pub fn explore<M>(name: &str, model: M, explain: impl Fn(&M::State) -> Option<String>) -> Result<()>
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let start = Instant::now();
    let checker = model.checker().threads(threads).spawn_bfs().join();
    eprintln!(
        "{name}: {} states, {} ways to get there, {} actions deep, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed()
    );
    let model = checker.model();
    let problem = |property: &str, expectation: &Expectation, found: Option<stateright::Path<_, _>>| match (
        expectation,
        found,
    ) {
        (Expectation::Sometimes, None) => Some(format!("never {property:?}")),
        (Expectation::Sometimes, Some(_)) | (_, None) => None,
        (_, Some(path)) => {
            let why = explain(path.last_state()).map(|why| format!(" ({why})")).unwrap_or_default();
            let actions = path.into_actions();
            let actions: Vec<String> = actions.iter().map(|action| model.format_action(action)).collect();
            Some(format!("not {property:?}{why}, after\n{}", actions.join("\n")))
        }
    };
    let problems: Vec<String> = model
        .properties()
        .iter()
        .filter_map(|property| {
            problem(property.name, &property.expectation, checker.discovery(property.name))
        })
        .collect();
    ensure!(problems.is_empty(), "{name}: {}", problems.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::Property;

    /// A counter that somebody adds one or two to.
    struct Counter {
        end: u8,
        properties: fn() -> Vec<Property<Counter>>,
    }

    impl Model for Counter {
        type State = u8;
        type Action = u8;

        fn init_states(&self) -> Vec<u8> {
            vec![0]
        }

        fn actions(&self, state: &u8, actions: &mut Vec<u8>) {
            actions.extend([1, 2].iter().filter(|more| state + **more <= self.end));
        }

        fn next_state(&self, state: &u8, more: u8) -> Option<u8> {
            Some(state + more)
        }

        fn properties(&self) -> Vec<Property<Self>> {
            (self.properties)()
        }
    }

    fn explored(properties: fn() -> Vec<Property<Counter>>) -> Result<(), String> {
        let explain = |state: &u8| Some(format!("it is {state}"));
        explore("a counter", Counter { end: 5, properties }, explain).map_err(|error| error.to_string())
    }

    #[test]
    fn a_property_that_does_not_hold_is_named_with_what_led_there() {
        let explored = explored(|| vec![Property::always("below three", |_, state| *state < 3)]);
        let error = explored.unwrap_err();
        assert!(error.starts_with("a counter: not \"below three\" (it is 3), after\n"), "{error}");
        assert_eq!(error.lines().count(), 3, "two actions: {error}");
    }

    #[test]
    fn what_never_is_and_should_be_is_named() {
        let explored = explored(|| vec![Property::sometimes("ten", |_, state| *state == 10)]);
        assert_eq!(explored.unwrap_err(), "a counter: never \"ten\"");
    }

    #[test]
    fn a_world_in_which_all_holds_is_good() {
        let properties = || {
            vec![
                Property::always("at most five", |_, state: &u8| *state <= 5),
                Property::sometimes("five", |_, state: &u8| *state == 5),
            ]
        };
        assert_eq!(explored(properties), Ok(()));
    }
}
