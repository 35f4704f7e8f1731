//! Brings one key from what is to what should be: plan, write, tell.

use super::SharedIndex;
use super::probes::{Asked, Probes};
use super::queue::Turn;
use super::report::{Report, Reporter, shorten};
use super::write::{WriteError, Writer};
use crate::config::Settings;
use crate::contract::Keys;
use crate::facts::{IngressFacts, ObjectKey};
use crate::index::Key;
use crate::plan::changes::{AppPlan, Change, app_plan, decided_plan, keep_with_status};
use crate::plan::status::{ASKING, Assurance, State, Status, WRITE_FAILED};
use crate::plan::warning::Warning;
use crate::plan::{AppView, Decision, decide};
use crate::probe::Target;
use crate::telemetry::metrics::{Metrics, Standing};
use futures::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// How long an app waits for something before its status tells of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Failures in a row after which an app's status tells of a trouble that usually passes.
const TRANSIENT_FAILURES: u32 = 4;

/// Where an app counts of which there is nothing to tell yet.
const ON_ITS_WAY: Standing = Standing { status: State::Pending, reason: "Waiting" };

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is as it should be.
    Done,
    /// It is, for now; look again after this long.
    Again(Duration),
    /// Something failed.
    Failed,
}

/// Reconciles keys, any number at once.
pub(super) struct Reconciler {
    index: SharedIndex,
    writer: Writer,
    reporter: Reporter,
    probes: Probes,
    metrics: Metrics,
    memory: Mutex<HashMap<ObjectKey, Memory>>,
}

/// What is remembered of an app between two looks at it.
#[derive(Debug, Default)]
struct Memory {
    /// Since when it waits.
    waiting_since: Option<Instant>,
    /// When the change came after which it is to be protected, until it is.
    wanted_since: Option<Instant>,
    /// Under which state it counts in the metrics.
    standing: Option<Standing>,
    /// Warnings that it was found with; `None` before the first look.
    warnings: Option<BTreeSet<Warning>>,
}

impl Memory {
    /// Takes in what was decided on account of a change that came at `since`.
    fn note(&mut self, decision: &Decision, since: Instant) {
        match decision {
            Decision::Wait { .. } => _ = self.waiting_since.get_or_insert_with(Instant::now),
            _ => self.waiting_since = None,
        }
        match decision {
            Decision::Wait { .. } | Decision::Protect(_) => _ = self.wanted_since.get_or_insert(since),
            _ => self.wanted_since = None,
        }
    }
}

/// An app's plan with what telling about it takes.
struct Prepared {
    plan: AppPlan,
    basis: Basis,
    /// `None` when the app's Ingress is gone.
    told: Option<Told>,
    again: Option<Duration>,
    /// Whether the app asks for protection.
    is_opted_in: bool,
    /// Whether this takes protection away, as asked.
    is_opt_out: bool,
    /// Whether annotations are to be written that say more once the outpost has answered.
    is_awaited: bool,
}

/// What a plan depends on that is not in the index.
struct Basis {
    is_overdue: bool,
    assurance: Assurance,
}

/// Whom to tell about, and what its status says so far.
struct Told {
    app: ObjectKey,
    uid: String,
    state: Option<String>,
    message: Option<String>,
    /// Whether visitors were sent to log in before.
    was_guarded: bool,
}

impl Reconciler {
    pub(super) fn new(
        index: SharedIndex,
        writer: Writer,
        reporter: Reporter,
        probes: Probes,
        metrics: Metrics,
    ) -> Self {
        Self { index, writer, reporter, probes, metrics, memory: Mutex::default() }
    }

    /// Forgets all apps, which are another replica's now.
    pub(super) fn forget_all(&self) {
        let memory = std::mem::take(&mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner));
        for memory in memory.into_values() {
            self.metrics.move_app(memory.standing, None);
        }
        self.probes.forget_all();
    }

    /// Reconciles the key whose turn it is.
    pub(super) async fn reconcile(&self, turn: &Turn<Key>) -> Outcome {
        match &turn.key {
            Key::App(app) => self.reconcile_app(app, turn.failures, turn.since).await,
            key @ (Key::Service(_) | Key::Headers(_) | Key::Middleware(_)) => {
                let change = self.index.with(|index| index.plan_shared(key));
                self.reconcile_shared(key, change, turn.failures).await
            }
        }
    }

    async fn reconcile_shared(&self, key: &Key, change: Option<Change>, failures: u32) -> Outcome {
        let Some(change) = change else {
            return Outcome::Done;
        };
        match self.writer.perform(&change).await {
            Ok(()) => {
                info!(%key, %change, "done");
                Outcome::Done
            }
            Err(error) => {
                warn!(%key, failures = failures + 1, %error, "failed");
                if is_told(&error, failures) {
                    // What they rely on is not as it should be: each finds that out for itself, and says so.
                    self.writer.tell(self.index.with(|index| index.users(key)));
                }
                Outcome::Failed
            }
        }
    }

    async fn reconcile_app(&self, app: &ObjectKey, failures: u32, since: Instant) -> Outcome {
        let (prepared, result) = self.bring_about(app, since).await;
        match result {
            Ok(()) => {
                self.count(app, prepared.is_opted_in, prepared.plan.status.as_ref());
                self.tell(app, &prepared);
                prepared.again.map_or(Outcome::Done, Outcome::Again)
            }
            Err(error) => {
                warn!(namespace = %app.namespace, name = %app.name, failures = failures + 1, %error, "failed");
                let status = is_told(&error, failures)
                    .then(|| Status::unprotected(State::Failing, WRITE_FAILED, shorten(error.to_string())));
                self.count(app, prepared.is_opted_in, status.as_ref());
                if let Some(status) = status {
                    self.tell_failure(app, status).await;
                }
                Outcome::Failed
            }
        }
    }

    /// Carries out what is due. The answer has what that was in the end.
    async fn bring_about(&self, app: &ObjectKey, since: Instant) -> (Prepared, Result<(), WriteError>) {
        let mut prepared = self.prepare(app, since);
        if prepared.is_awaited {
            let stages = &prepared.plan.stages;
            let companions =
                stages.iter().take_while(|stage| !stage.iter().any(Change::is_of_annotations)).count();
            let (made, ()) = tokio::join!(
                self.carry_out(app, &stages[..companions], &prepared.basis),
                self.probes.settle(app)
            );
            if made.is_err() {
                return (prepared, made);
            }
            prepared = self.prepare(app, since);
        }
        let result = self.carry_out(app, &prepared.plan.stages, &prepared.basis).await;
        (prepared, result)
    }

    fn prepare(&self, app: &ObjectKey, since: Instant) -> Prepared {
        let is_overdue = self
            .remember(app, |memory| memory.waiting_since.is_some_and(|since| since.elapsed() >= PATIENCE));
        let (plan, decision, told, assurance) = self.index.with(|index| {
            let settings = index.settings().clone();
            let mut view = index.view(app);
            let decision = decide(&view, &settings);
            view.assurance = self.probes.assurance(app, || asked(&view, &decision, &settings));
            let plan = app_plan(&view, &decision, &settings.keys, is_overdue);
            (plan, decision, Told::of(&view, &settings.keys), view.assurance)
        });
        let again = match &decision {
            Decision::Wait { waiting, .. } => {
                debug!(%app, %waiting, "waiting");
                Some(PATIENCE)
            }
            Decision::Refuse(refusal) => refusal.recheck_after(),
            _ => None,
        };
        self.remember(app, |memory| memory.note(&decision, since));
        if matches!(&decision, Decision::Refuse(refusal) if refusal.recheck_after().is_some())
            && plan.stages.is_empty()
        {
            self.look_again_at_taken_names(app);
        }
        let is_annotated = plan.stages.iter().flatten().any(Change::is_of_annotations);
        let is_opt_out = decision == Decision::Unprotect && is_annotated;
        let is_awaited = assurance == Assurance::Awaited && is_annotated;
        let basis = Basis { is_overdue, assurance };
        let is_opted_in = !matches!(decision, Decision::Leave | Decision::Unprotect);
        Prepared { plan, basis, told, again, is_opted_in, is_opt_out, is_awaited }
    }

    /// Objects under a name that we need, but of a kind that is not watched, are known only from a failed create.
    fn look_again_at_taken_names(&self, app: &ObjectKey) {
        self.index.with(|index| {
            for (source, key) in index.foreign_companions(app) {
                index.forget(source, &key, None);
            }
        });
    }

    /// What is due now, by what was known of the rest.
    fn plan_again(&self, app: &ObjectKey, Basis { is_overdue, assurance }: &Basis) -> AppPlan {
        self.index.with(|index| {
            let mut view = index.view(app);
            view.assurance = assurance.clone();
            decided_plan(&view, index.settings(), *is_overdue)
        })
    }

    /// Carries out `stages`, of which each must still be due when its turn comes: while the first was written, the app may have
    /// become another, or its route may be gone.
    async fn carry_out(
        &self,
        app: &ObjectKey,
        stages: &[Vec<Change>],
        basis: &Basis,
    ) -> Result<(), WriteError> {
        for (position, stage) in stages.iter().enumerate() {
            if position > 0 && !self.plan_again(app, basis).is_next(stage) {
                return Err(WriteError::Stale(format!(
                    "what Ingress {app} needs changed before all was written"
                )));
            }
            self.carry_out_stage(app, stage).await?;
        }
        Ok(())
    }

    async fn carry_out_stage(&self, app: &ObjectKey, stage: &[Change]) -> Result<(), WriteError> {
        let results = join_all(stage.iter().map(|change| self.writer.perform(change))).await;
        for (change, result) in stage.iter().zip(results) {
            let denied = match &result {
                Err(WriteError::Duplicate(_)) if change.is_of_route() => Some(true),
                Ok(()) if change.is_of_route() => Some(false),
                _ => None,
            };
            if let Some(is_denied) = denied {
                self.writer.set_denied(app, is_denied);
            }
            result?;
            debug!(%app, %change, "done");
        }
        Ok(())
    }

    /// Tells of a change of state or warnings, in an Event and in the log.
    fn tell(&self, app: &ObjectKey, prepared: &Prepared) {
        let Some(told) = &prepared.told else {
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
            return;
        };
        if prepared.plan.is_partial {
            return;
        }
        let is_new = |status: &Status| {
            let message = Some(&status.message).filter(|message| !message.is_empty());
            told.state.as_deref() != Some(&status.state.to_string()) || told.message.as_ref() != message
        };
        let transition = prepared.plan.status.as_ref().filter(|status| is_new(status));
        // An answer is on its way, and with it something to tell.
        if let Some(status) = transition.filter(|status| status.reason != ASKING) {
            self.tell_status(app, told, status);
        }
        if prepared.plan.status.as_ref().is_some_and(Status::is_guarded) {
            self.tell_delay(app, !told.was_guarded);
        }
        if prepared.is_opt_out {
            info!(namespace = %app.namespace, name = %app.name, "no longer protected, as asked");
            self.reporter.tell(told.report(
                "Unprotected",
                false,
                "no longer behind authentik: the opt-in is gone".to_owned(),
            ));
        }
        self.tell_warnings(app, told, &prepared.plan.warnings, transition.is_some());
    }

    /// How long an app took that is protected now. One that was all the time does not count.
    fn tell_delay(&self, app: &ObjectKey, is_new: bool) {
        let since = self.remember(app, |memory| memory.wanted_since.take());
        if let Some(since) = since.filter(|_| is_new) {
            self.metrics.protected_after(since.elapsed());
        }
    }

    fn tell_status(&self, app: &ObjectKey, told: &Told, status: &Status) {
        let is_warning = status.is_warning();
        let outpost = status.outpost.as_deref();
        let note = match outpost.filter(|_| status.state == State::Protected) {
            Some(outpost) => format!("behind authentik, guarded by the outpost {outpost}"),
            None => status.message.clone(),
        };
        let (namespace, name, state, reason) = (&app.namespace, &app.name, status.state, status.reason);
        if is_warning {
            warn!(%namespace, %name, outpost, %state, reason, "{note}");
        } else {
            info!(%namespace, %name, outpost, %state, reason, "{note}");
        }
        self.reporter.tell(told.report(status.reason, is_warning, note));
    }

    /// Warnings are told when they are new. After a restart those of an app in an unchanged state are not.
    fn tell_warnings(&self, app: &ObjectKey, told: &Told, warnings: &[Warning], is_transition: bool) {
        let now: BTreeSet<Warning> = warnings.iter().cloned().collect();
        let before = self.remember(app, |memory| memory.warnings.replace(now.clone()));
        let before = match before {
            None if !is_transition => return,
            before => before.unwrap_or_default(),
        };
        for warning in now.difference(&before) {
            warn!(namespace = %app.namespace, name = %app.name, reason = warning.reason(), %warning, "protected with a catch");
            self.reporter.tell(told.report(warning.reason(), warning.is_serious(), warning.to_string()));
        }
    }

    /// Counts an app under the state that it is in now; without `status`, under the one that it was in.
    fn count(&self, app: &ObjectKey, is_opted_in: bool, status: Option<&Status>) {
        self.remember(app, |memory| {
            let told = status.map(|status| Standing { status: status.state, reason: status.reason });
            let now = is_opted_in.then(|| told.or(memory.standing).unwrap_or(ON_ITS_WAY));
            self.metrics.move_app(std::mem::replace(&mut memory.standing, now), now);
        });
    }

    /// Tells of a failure in the app's status.
    async fn tell_failure(&self, app: &ObjectKey, status: Status) {
        let (plan, told) = self.index.with(|index| {
            let keys = index.settings().keys.clone();
            let view = index.view(app);
            let is_opted_in = view.ingress.is_some_and(IngressFacts::is_opted_in);
            (is_opted_in.then(|| keep_with_status(&view, &keys, status)), Told::of(&view, &keys))
        });
        let (Some(plan), Some(told)) = (plan, told) else { return };
        // Without one, it is said already.
        let Some(stage) = plan.stages.first() else { return };
        match self.carry_out_stage(app, stage).await {
            Ok(()) => plan.status.iter().for_each(|status| self.tell_status(app, &told, status)),
            Err(error) => {
                warn!(namespace = %app.namespace, name = %app.name, %error, "cannot write the status either");
                // An Ingress that takes no more annotations, say. An Event is another object.
                if let (WriteError::Rejected(_), Some(status)) = (&error, &plan.status) {
                    self.reporter.tell(told.report(status.reason, true, status.message.clone()));
                }
            }
        }
    }

    fn remember<T>(&self, app: &ObjectKey, use_memory: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        use_memory(memory.entry(app.clone()).or_default())
    }
}

impl Told {
    fn of(view: &AppView<'_>, keys: &Keys) -> Option<Self> {
        let ingress = view.ingress?;
        // Nobody was told what somebody copied from another app.
        let annotation = |key: &str| {
            let app = ingress.app().filter(|app| app.has_applied(key))?;
            app.annotation(key).map(str::to_owned)
        };
        Some(Self {
            app: ingress.key.clone(),
            uid: ingress.identity.uid(),
            state: annotation(&keys.status),
            message: annotation(&keys.message),
            was_guarded: ingress.is_protected(keys),
        })
    }

    fn report(&self, reason: &'static str, is_warning: bool, note: String) -> Report {
        Report { app: self.app.clone(), uid: self.uid.clone(), is_warning, reason, note }
    }
}

/// What the outpost of an app is asked about: only once it is certain that visitors are sent there.
fn asked(view: &AppView<'_>, decision: &Decision, settings: &Settings) -> Option<Asked> {
    let Decision::Protect(protection) = decision else { return None };
    let (request, app) = (view.request?.as_ref().ok()?, view.ingress?.app()?);
    let is_believed = Status::is_said_protected(protection, app, &settings.keys);
    Some(Asked { targets: Target::of(request, settings), is_believed })
}

/// Whether people should hear of a failure: at once where it will not pass by itself, else when it has not.
fn is_told(error: &WriteError, failures: u32) -> bool {
    matches!(error, WriteError::Rejected(_)) || failures + 1 >= TRANSIENT_FAILURES
}
