//! `ingress-sso status`: what became of the apps, from what stands on their Ingresses. It needs no right but to list these,
//! and with `--watch` to watch them, in one namespace.

mod age;
mod apps;
mod output;
mod row;
mod table;

use super::{CommandError, cluster};
use crate::cli::StatusArgs;
use crate::contract::Keys;
use crate::errors::{brief, chain};
use crate::facts::ObjectKey;
use crate::watched::WatchedIngress;
use apps::Apps;
use futures::{Stream, StreamExt};
use kube::Api;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use output::{Format, Output};
use std::collections::BTreeSet;
use std::io::{Write, stdout};
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the API server may take to answer while the table is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between attempts to go on with a watch that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Prints what became of the apps; with `--watch` also each change, until the API server forbids it or the reader hangs up.
pub fn status(args: &StatusArgs) -> Result<(), CommandError> {
    let keys = args.prefix.keys()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Start)?;
    runtime.block_on(show(args, &keys))
}

async fn show(args: &StatusArgs, keys: &Keys) -> Result<(), CommandError> {
    let (client, default_namespace) = cluster::client(&args.cluster).await?;
    let namespace = args.namespace.clone().unwrap_or(default_namespace);
    let namespace = (!args.all_namespaces).then_some(namespace);
    let api: Api<WatchedIngress> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    // It reads the list in pages, and begins anew where one took so long that the rest is gone.
    let mut events = pin!(watcher(api, Config::default()));
    let listed = list(&mut events, keys).await.map_err(|error| error.into_command(namespace.as_deref()))?;
    let mut output = Output::new(stdout().lock(), Format::new(args.output, args.watch));
    if !output.begin(&listed, namespace.as_deref()) || !args.watch {
        return Ok(());
    }
    follow(&mut events, listed, &mut output).await.map_err(|error| error.into_command(namespace.as_deref()))
}

/// What the API server did not do.
struct Failure {
    verb: &'static str,
    error: String,
    code: Option<u16>,
}

/// The first list.
async fn list(
    events: &mut Pin<&mut impl Stream<Item = Result<Event<WatchedIngress>, Error>>>,
    keys: &Keys,
) -> Result<Apps, Failure> {
    let mut apps = Apps::new(keys.clone());
    loop {
        let event = timeout(PATIENCE, events.next()).await.map_err(|_| Failure {
            verb: "list",
            error: format!("no answer within {} seconds", PATIENCE.as_secs()),
            code: None,
        })?;
        match event {
            Some(Ok(Event::Init)) => apps = Apps::new(keys.clone()),
            Some(Ok(Event::InitApply(ingress) | Event::Apply(ingress))) => _ = apps.see(&ingress),
            Some(Ok(Event::Delete(ingress))) => _ = apps.forget(&ObjectKey::of(&ingress.0.metadata)),
            Some(Err(error)) if is_too_old(&error) => {}
            Some(Err(error)) => return Err(Failure::of(&error)),
            Some(Ok(Event::InitDone)) | None => return Ok(apps),
        }
    }
}

/// Prints changes until the reader hangs up or the API server forbids to watch. A watch that ends otherwise goes on.
async fn follow(
    events: &mut Pin<&mut impl Stream<Item = Result<Event<WatchedIngress>, Error>>>,
    mut apps: Apps,
    output: &mut Output<impl Write>,
) -> Result<(), Failure> {
    let mut listing = apps.emptied();
    let mut is_failing = false;
    while let Some(event) = events.next().await {
        let touched = match event {
            Ok(Event::Apply(ingress)) => apps.see(&ingress),
            Ok(Event::Delete(ingress)) => apps.forget(&ObjectKey::of(&ingress.0.metadata)),
            Ok(Event::Init) => {
                listing = apps.emptied();
                continue;
            }
            Ok(Event::InitApply(ingress)) => {
                listing.see(&ingress);
                continue;
            }
            Ok(Event::InitDone) => {
                let before = std::mem::replace(&mut apps, listing);
                listing = apps.emptied();
                before.keys().chain(apps.keys()).cloned().collect::<BTreeSet<_>>()
            }
            Err(error) if is_too_old(&error) => continue,
            Err(error) => {
                let failure = Failure::of(&error);
                if matches!(failure.code, Some(401 | 403)) {
                    return Err(failure);
                }
                if !std::mem::replace(&mut is_failing, true) {
                    eprintln!("ingress-sso: the watch failed and is tried again: {}", failure.error);
                }
                sleep(RETRY).await;
                continue;
            }
        };
        is_failing = false;
        if !output.update(&apps, &touched) {
            break;
        }
    }
    Ok(())
}

/// Whether the API server has forgotten the version that the watch wants to go on from; the next thing is a new list.
fn is_too_old(error: &Error) -> bool {
    match error {
        Error::WatchError(status) => status.code == 410,
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.code == 410)
        }
        Error::NoResourceVersion => false,
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        let (verb, error, code) = match error {
            Error::InitialListFailed(error) => ("list", brief(error), code(error)),
            Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
                ("watch", brief(error), code(error))
            }
            Error::WatchError(status) => ("watch", status.message.clone(), Some(status.code)),
            Error::NoResourceVersion => ("watch", chain(error), None),
        };
        Self { verb, error, code }
    }

    /// What went wrong and what to do, for Ingresses of `namespace` or of all.
    fn into_command(self, namespace: Option<&str>) -> CommandError {
        let Self { verb, error, code } = self;
        let (scope, flags) = match namespace {
            Some(namespace) => (format!("in the namespace {namespace}"), format!("-n {namespace}")),
            None => ("in all namespaces".to_owned(), "-A".to_owned()),
        };
        let remedy = match code {
            Some(403) => {
                let narrower = if namespace.is_none() { ", or name one namespace with -n" } else { "" };
                let ask = format!("kubectl auth can-i {verb} ingresses.networking.k8s.io {flags}");
                format!("have the right granted (`{ask}` says yes then){narrower}")
            }
            Some(401) => "log in anew: the credentials of the kubeconfig's context have run out or are wrong"
                .to_owned(),
            Some(_) => "see what the API server says of it".to_owned(),
            None => "check that `kubectl get ingress` reaches the cluster, and choose another with --context"
                .to_owned(),
        };
        CommandError::Ingresses { verb, scope, error, remedy }
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::table::{Look, Table};
    use super::*;
    use futures::stream;
    use kube::core::Status;
    use serde_json::json;

    const HEADERS: &str = "NAMESPACE   NAME   HOSTS   OUTPOST     ROUTE   STATUS    MESSAGE   AGE\n";

    fn app(name: &str, status: &str) -> WatchedIngress {
        serde_json::from_value(json!({ "metadata": {
            "namespace": "shop", "name": name,
            "annotations": { "sso.djieno.com/authentik": "true", "sso.djieno.com/status": status },
        } }))
        .unwrap()
    }

    fn failed(code: u16) -> Error {
        let status = Status { code, message: "told".to_owned(), ..Status::default() };
        Error::WatchError(Box::new(status))
    }

    /// What is printed of these events after the first list, and how it ends.
    async fn printed(
        first: &[WatchedIngress],
        events: Vec<Result<Event<WatchedIngress>, Error>>,
    ) -> (String, Result<(), Failure>) {
        let mut apps = Apps::new(Keys::default());
        for ingress in first {
            apps.see(ingress);
        }
        let mut output = Output::new(Vec::new(), Format::Table(Table::new(Look::default())));
        output.begin(&apps, Some("shop"));
        let mut events = pin!(stream::iter(events));
        let outcome = follow(&mut events, apps, &mut output).await;
        (String::from_utf8(output.into_writer()).unwrap(), outcome)
    }

    #[tokio::test]
    async fn what_needs_somebody_comes_first_and_then_names_count() {
        let first = ["b-Pending", "a-Pending", "d-Refused", "c-Failing", "e-Other"];
        let apps: Vec<_> = first.iter().filter_map(|text| text.split_once('-')).collect();
        let apps: Vec<_> = apps.into_iter().map(|(name, status)| app(name, status)).collect();
        let (text, _) = printed(&apps, Vec::new()).await;
        let names: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(names, ["c", "d", "e", "a", "b"]);
    }

    #[tokio::test]
    async fn an_expired_watch_goes_on_and_tells_what_it_missed_once() {
        let first = [app("a", "Pending"), app("b", "Pending"), app("c", "Pending")];
        let events = vec![
            Err(failed(410)),
            Ok(Event::Init),
            Ok(Event::InitApply(app("a", "Pending"))),
            Ok(Event::InitApply(app("b", "Refused"))),
            Ok(Event::InitDone),
            Ok(Event::Apply(app("b", "Refused"))),
            Ok(Event::Delete(app("a", "Pending"))),
        ];
        let (text, outcome) = printed(&first, events).await;
        assert!(outcome.is_ok());
        let gone = "gone: its Ingress was deleted, or asks for no protection any more";
        let wanted = format!(
            "{HEADERS}\
             shop        a      *       <default>   -       Pending             <unknown>\n\
             shop        b      *       <default>   -       Pending             <unknown>\n\
             shop        c      *       <default>   -       Pending             <unknown>\n\
             shop        b      *       <default>   -       Refused   {:width$}   <unknown>\n\
             shop        c      *       -           -       <none>    {gone}   <unknown>\n\
             shop        a      *       -           -       <none>    {gone}   <unknown>\n",
            "",
            width = gone.len(),
        );
        assert_eq!(text, wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_is_tried_again_unless_it_is_forbidden() {
        let change = || Ok(Event::Apply(app("a", "Refused")));
        let (text, outcome) = printed(&[], vec![Err(failed(500)), Err(failed(500)), change()]).await;
        assert!(outcome.is_ok() && text.contains("Refused"), "{text}");
        let (text, outcome) = printed(&[], vec![Err(failed(403)), change()]).await;
        assert_eq!(text, "");
        let error = outcome.err().unwrap().into_command(Some("shop")).to_string();
        assert_eq!(
            error,
            "cannot watch ingresses.networking.k8s.io in the namespace shop: told; have the right granted (`kubectl auth \
             can-i watch ingresses.networking.k8s.io -n shop` says yes then)"
        );
    }
}
