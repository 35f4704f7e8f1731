//! Waiting for a state, with an error that says what was seen instead.

use std::{cell::Cell, fmt::Display, future::Future, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

/// Time between two looks. Short, since it is a part of every measured reaction time.
const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `check` until it returns a value, and returns that value.
///
/// `what` completes the sentence "waited for …". `check` returns `Ok(Some(value))` when the state is there,
/// `Ok(None)` when it is not, and `Err(…)` when it is not and there is something to say about it: the last
/// such error is a part of the error at timeout. So a failed request is asked again, which is what a test
/// wants that restarts servers. A failure that waiting cannot mend belongs into the value.
///
/// ```no_run
/// # use std::time::Duration;
/// # use anyhow::bail;
/// # use ingress_sso_testbed::wait::eventually;
/// # async fn count() -> anyhow::Result<usize> { Ok(3) }
/// # async fn example() -> anyhow::Result<()> {
/// eventually("three Services", Duration::from_secs(5), || async {
///     match count().await? {
///         3 => Ok(Some(())),
///         n => bail!("{n} of them"),
///     }
/// })
/// .await
/// # }
/// ```
///
/// Fails after `timeout`, also when a single call of `check` hangs.
pub async fn eventually<T, F, Fut>(what: impl Display, timeout: Duration, mut check: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    let deadline = start + timeout;
    let mut last = String::from("nothing");
    let mut looks = 0_u32;
    loop {
        looks += 1;
        match timeout_at(deadline, check()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => {}
            Ok(Err(state)) => last = format!("{state:#}"),
            Err(_) => last = format!("{last}; the last look had no answer"),
        }
        if Instant::now() + INTERVAL >= deadline {
            bail!(
                "waited {:.1?} in vain for {what} (looked {looks} times); last seen: {last}",
                start.elapsed()
            );
        }
        sleep(INTERVAL).await;
    }
}

/// Waits until `check` says yes, and goes on to say so for `steady`: for a state that comes and goes before it stays.
///
/// Fails like [`eventually`].
pub async fn steadily<F, Fut>(
    what: impl Display,
    steady: Duration,
    timeout: Duration,
    mut check: F,
) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<bool>>,
{
    let since = Cell::new(None);
    let since = &since;
    eventually(what, timeout, || {
        let look = check();
        async move {
            let holds = look.await;
            let now = Instant::now();
            since.set(since.get().or(Some(now)).filter(|_| matches!(holds, Ok(true))));
            Ok((holds? && since.get().is_some_and(|since| now - since >= steady)).then_some(()))
        }
    })
    .await
}

/// Checks for the whole of `period` that `check` holds: the opposite of [`eventually`], for "and then nothing
/// happens".
///
/// `check` returns an error that says what happened. Fails at once with that error.
pub async fn throughout<F, Fut>(what: impl Display, period: Duration, mut check: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let start = Instant::now();
    while start.elapsed() < period {
        if let Err(error) = check().await {
            return Err(error.context(format!("{what} did not hold after {:.1?}", start.elapsed())));
        }
        sleep(INTERVAL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_value_once_it_is_there() {
        let mut looks = 0;
        let value = eventually("a value", Duration::from_secs(5), || {
            looks += 1;
            let now = (looks == 3).then_some(looks);
            async move { Ok(now) }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_that_comes_and_goes_is_not_steady() {
        let mut looks = 0;
        let steady = Duration::from_millis(100);
        let start = Instant::now();
        steadily("a steady state", steady, Duration::from_secs(5), || {
            looks += 1;
            let now = looks != 3;
            async move { Ok(now) }
        })
        .await
        .unwrap();
        assert!(looks > 4 && start.elapsed() >= steady, "after {looks} looks");
    }

    #[tokio::test]
    async fn timeout_says_what_and_last_state() {
        let error = eventually::<(), _, _>("a bus", Duration::from_millis(60), || async { bail!("a tram") });
        let error = error.await.unwrap_err().to_string();
        assert!(error.contains("for a bus") && error.contains("last seen: a tram"), "{error}");
    }

    #[tokio::test]
    async fn a_hanging_look_ends_too() {
        let hang = eventually::<(), _, _>("an answer", Duration::from_millis(60), std::future::pending).await;
        assert!(hang.unwrap_err().to_string().contains("no answer"));
    }
}
