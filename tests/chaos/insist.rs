//! Requests of those whom the trouble does not deter.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long they go on to ask: servers that start again have a minute to be ready.
const INSISTENCE: Duration = Duration::from_mins(2);

/// What a request comes to.
pub(crate) type Answer<T> = Result<T, kube::Error>;

/// Asks again for as long as the API server is in trouble.
pub(crate) async fn insist<T>(request: impl AsyncFn() -> Answer<T>) -> Answer<T> {
    let start = Instant::now();
    loop {
        match request().await {
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                return Err(kube::Error::Api(status));
            }
            Err(_) if start.elapsed() < INSISTENCE => sleep(Duration::from_millis(50)).await,
            other => return other,
        }
    }
}
