//! The controller in the middle of its work on a key: what sends the changes, as `src/controller` does it.

use super::super::cluster::{self, ApiError};
use super::super::controller::all_objects;
use super::super::user_action::app_key;
use super::fingerprint::Fingerprint;
use super::{Action, KINDS, SETTINGS, State, facts, key_of, kind_of, number};
use ingress_sso::facts::{Identity, ObjectKey};
use ingress_sso::index::{Key, Source};
use ingress_sso::plan::changes::{Change, Kind, is_deletion_due};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A key that the controller works on.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) key: Key,
    /// What is left of the stage.
    pub(super) changes: VecDeque<(Arc<Change>, Fingerprint)>,
    /// The stages after it.
    pub(super) stages: VecDeque<(Arc<Vec<Change>>, Fingerprint)>,
    /// Whether the first of them was confirmed by a fresh read.
    pub(super) is_confirmed: bool,
    /// The apps as they were known when this stage began, or read since.
    pub(super) known: BTreeMap<ObjectKey, u64>,
    /// Routes that take the place of the one that is to be deleted, as they were read.
    pub(super) heirs: BTreeMap<ObjectKey, u64>,
    /// Whether some app was waiting for room then, as a webhook had rejected its route.
    pub(super) makes_room: bool,
}

impl Run {
    pub(super) fn new(key: Key, stages: VecDeque<(Arc<Vec<Change>>, Fingerprint)>) -> Self {
        Self {
            key,
            changes: VecDeque::new(),
            stages,
            is_confirmed: false,
            known: BTreeMap::new(),
            heirs: BTreeMap::new(),
            makes_room: false,
        }
    }

    fn begin_stage(&mut self) {
        let stage = self.stages.pop_front().into_iter().flat_map(|(stage, _)| stage.as_ref().clone());
        let changes = stage.map(|change| {
            let fingerprint = Fingerprint::of(&format!("{change:?}"));
            (Arc::new(change), fingerprint)
        });
        self.changes = changes.collect();
    }

    pub(super) fn next(&self) -> Action {
        let change = self.changes.front().map(|(change, _)| change.to_string()).unwrap_or_default();
        let is_read =
            matches!(self.changes.front(), Some((change, _)) if matches!(**change, Change::Delete { .. }));
        let prefix = if is_read && !self.is_confirmed { "look before to " } else { "" };
        Action::Send(self.key.clone(), format!("{prefix}{change}"))
    }
}

impl State {
    /// Goes on with a key, unless nothing is left to do for it.
    pub(super) fn go_on(&mut self, mut run: Run) {
        if run.changes.is_empty() {
            match run.stages.front() {
                None => return,
                Some((stage, _)) if !self.plan(&run.key).is_next(stage) => {
                    self.failed.insert(run.key);
                    return;
                }
                Some(_) => run.begin_stage(),
            }
            run.known = self.known_apps(&run);
            let early = run.changes.iter().find_map(|(change, _)| self.is_said_too_early(change));
            self.wrong = self.wrong.take().or(early);
        }
        self.runs.push(run);
        self.runs.sort_by(|one, other| one.key.cmp(&other.key));
    }

    /// The apps as the index knows them. Of one whose route is to be deleted it is not enough to know it.
    fn known_apps(&self, run: &Run) -> BTreeMap<ObjectKey, u64> {
        let apps = (0..self.apps.len()).map(app_key);
        let known = apps.filter_map(|app| {
            let version = self.index.identity(Source::Ingresses, &app).and_then(Identity::version)?;
            Some((app, version))
        });
        let is_delete = run.changes.iter().any(|(change, _)| matches!(**change, Change::Delete { .. }));
        known.filter(|(app, _)| !is_delete || run.key != Key::App(app.clone())).collect()
    }

    /// Does for the next change what `src/controller/write.rs` and `confirm.rs` do, and then what `reconcile.rs` does.
    pub(super) fn send(&mut self, mut run: Run) {
        let Some((change, _)) = run.changes.front().cloned() else { return };
        let is_delete = matches!(*change, Change::Delete { .. });
        let result = if is_delete && !run.is_confirmed {
            self.confirm(&change, &mut run)
        } else {
            self.perform(&change, &run)
        };
        if change.is_of_route()
            && let Key::App(app) = &run.key
            && matches!(result, Ok(_) | Err(ApiError::Denied(_)))
        {
            self.queue.extend(Arc::make_mut(&mut self.index).set_denied(app, result.is_err()));
        }
        match result {
            Ok(is_done) => {
                run.is_confirmed = !is_done;
                if is_done {
                    run.changes.pop_front();
                }
                self.go_on(run);
            }
            Err(ApiError::Conflict(what)) if what.contains("from its user") => self.wrong = Some(what),
            Err(_) => _ = self.failed.insert(run.key),
        }
    }

    /// Reads afresh what must not need what is to be deleted. The answer is whether there is nothing to delete any more.
    fn confirm(&mut self, change: &Change, run: &mut Run) -> Result<bool, ApiError> {
        let stale = || Err(ApiError::Conflict("it is needed".to_owned()));
        let Change::Delete { kind, key, .. } = change else { return Ok(false) };
        if *kind == Kind::Ingress {
            let Some(app) = self.index.app_of_route(key) else { return stale() };
            let Some(found) = self.cluster.ingresses.get(&app).cloned() else {
                return self.confirm_heirs(&app, change, run);
            };
            run.known.extend(number(&found.metadata).map(|version| (app.clone(), version)));
            if self.index.may_lose_route(&app, &facts(&found)) {
                return self.confirm_heirs(&app, change, run);
            }
            self.learn(&cluster::Event::Ingress(Box::new(found)));
            return stale();
        }
        let shared = match kind {
            Kind::Service => Key::Service(key.clone()),
            _ => Key::Headers(key.clone()),
        };
        if self.index.plan_shared(&shared).as_ref() != Some(change) {
            return Ok(true);
        }
        let is_used = self.cluster.ingresses.values().any(|ingress| kind.is_used_by(&facts(ingress), key));
        if is_used { stale() } else { Ok(false) }
    }

    /// Reads afresh what takes the place of the route of `app`, and sees whether that may still go.
    fn confirm_heirs(&mut self, app: &ObjectKey, change: &Change, run: &mut Run) -> Result<bool, ApiError> {
        for (heir, service) in self.index.heirs(app) {
            let found = self.cluster.ingresses.get(&heir).cloned();
            let found =
                found.map(|found| (Identity::of(&found.metadata), cluster::Event::Ingress(Box::new(found))));
            let version = found.as_ref().and_then(|(identity, _)| identity.version());
            self.confirm_is_as_known(Kind::Ingress, Source::Ingresses, &heir, found)?;
            run.heirs.extend(version.map(|version| (heir, version)));
            let found = self.cluster.services.get(&service).cloned();
            let found =
                found.map(|found| (Identity::of(&found.metadata), cluster::Event::Service(Box::new(found))));
            self.confirm_is_as_known(Kind::Service, Source::Services, &service, found)?;
        }
        run.makes_room = self.is_denied();
        let is_due = is_deletion_due(&self.index.view(app), &SETTINGS, change);
        if is_due { Ok(false) } else { Err(ApiError::Conflict("it is needed again".to_owned())) }
    }

    /// Goes on if an object that was read just now is as it is known, and else learns what it is.
    fn confirm_is_as_known(
        &mut self,
        kind: Kind,
        source: Source,
        key: &ObjectKey,
        found: Option<(Identity, cluster::Event)>,
    ) -> Result<(), ApiError> {
        let known = self.index.identity(source, key).cloned();
        if found.as_ref().map(|(identity, _)| identity) == known.as_ref() {
            return Ok(());
        }
        match (found, known) {
            (Some((_, found)), _) => self.learn(&found),
            (None, Some(known)) => self.forget(kind, key, &known),
            (None, None) => {}
        }
        Err(ApiError::Conflict("it is replaced by another".to_owned()))
    }

    /// Sends a request, if one is needed, and takes in the answer. It is always that the change is done.
    fn perform(&mut self, change: &Change, run: &Run) -> Result<bool, ApiError> {
        if let Change::Create(companion) = change {
            match self.index.is_ours(companion.kind(), &companion.key()) {
                None => {}
                Some(true) => return Ok(true),
                Some(false) => return Err(ApiError::Conflict("somebody else made it".to_owned())),
            }
        }
        let before = Arc::clone(&self.cluster);
        match Arc::make_mut(&mut self.cluster).perform(change) {
            Ok(events) => {
                self.wrong = self.wrong.take().or_else(|| self.wrong_by(change, run, &before));
                self.announce(events.clone());
                if let Change::Delete { kind, key, identity } = change {
                    self.forget(*kind, key, identity);
                } else {
                    for event in &events {
                        self.learn(event);
                    }
                }
                Ok(true)
            }
            Err(error) => {
                self.cluster = before;
                self.look_after(change).map_or(Err(error), |()| Ok(true))
            }
        }
    }

    /// After a request that failed: looks what is there. The answer is whether all is as it should be.
    fn look_after(&mut self, change: &Change) -> Option<()> {
        let found = |kind: Kind, key: &ObjectKey| {
            let mut all = all_objects(&self.cluster).into_iter();
            all.find(|event| kind_of(event) == kind && key_of(event).as_ref() == Some(key))
        };
        match change {
            Change::Create(companion) => {
                let found = found(companion.kind(), &companion.key());
                if let Some(found) = found {
                    self.learn(&found);
                }
                None
            }
            Change::Delete { kind, key, identity } if found(*kind, key).is_none() => {
                self.forget(*kind, key, identity);
                Some(())
            }
            _ => None,
        }
    }

    fn forget(&mut self, kind: Kind, key: &ObjectKey, identity: &Identity) {
        let source =
            KINDS.iter().find(|(other, _)| *other == kind).map_or(Source::Middlewares, |(_, source)| *source);
        self.queue.extend(Arc::make_mut(&mut self.index).forget(source, key, Some(identity)));
    }
}
