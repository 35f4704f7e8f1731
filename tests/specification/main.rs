//! The specification, as one table: a small cluster in, objects or a refusal out.
//!
//! Each [`Case`] states a rule, the cluster that it is about, and what becomes of the app there. Where nothing else
//! is said, the app is the Ingress `n8n` in the namespace `n8n-prd`, of the class `nginx`, on `app.djieno.com`, and
//! the outpost is `proxy-outpost` in `authentik-prd`. A case of a protected app names only what differs from
//! [`protected`], and everything else has to be exactly as there.

#![allow(
    clippy::expect_used,
    reason = "what a case is made of is fixed text, and a mistake in it should end the test"
)]
#![allow(clippy::too_many_lines, reason = "a chapter of a table is as long as it has rows")]

#[allow(dead_code, reason = "the tests of hostile input look at more than what is created")]
#[path = "../hostile/api_server.rs"]
mod api_server;
mod asking;
mod classes;
mod names;
mod nginx;
mod outcome;
mod outposts;
mod own_annotations;
mod routes;
mod seed;
mod served_together;
mod settled;
mod sharing_a_host;
mod states;
mod traefik;
mod validators;
mod world;

use ingress_sso::config::Settings;
use ingress_sso::facts::IngressFacts;
use ingress_sso::index::Index;
use ingress_sso::plan::refusal::Refusal;
use ingress_sso::plan::warning::Warning;
use ingress_sso_testbed::builders::IngressBuilder;
use k8s_openapi::api::networking::v1::Ingress;
use outcome::{Case, Expected};
use settled::read;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use world::{Annotated, World, app};

#[test]
fn specification() {
    let cases = all_cases();
    let mut report = String::new();
    let mut failed = 0;
    for case in &cases {
        let failures = case.failures();
        if !failures.is_empty() {
            failed += 1;
            _ = write!(report, "\n\n✗ {}", case.rule);
            for failure in failures {
                _ = write!(report, "\n  {}", failure.replace('\n', "\n  "));
            }
        }
    }
    assert!(failed == 0, "{failed} of {} cases failed:{report}", cases.len());
}

#[test]
fn each_rule_is_stated_once_and_each_reason_has_a_case() {
    let cases = all_cases();
    let rules: BTreeSet<_> = cases.iter().map(|case| &case.rule).collect();
    assert_eq!(rules.len(), cases.len(), "two cases state the same rule");
    assert!(cases.len() >= 240, "only {} cases: some got lost", cases.len());
    let refusals: BTreeSet<_> = cases.iter().filter_map(Case::refusal).collect();
    assert_eq!(refusals, BTreeSet::from(Refusal::REASONS));
    let warnings: BTreeSet<_> = cases.iter().flat_map(Case::warnings).collect();
    assert_eq!(warnings, BTreeSet::from(Warning::REASONS));
}

#[test]
fn a_route_stays_for_an_auth_url_that_the_owner_wrote_after_he_opted_out() {
    let settings = Settings::default();
    let index = Index::new(Arc::new(settings.clone()));
    let may_lose_route = |app: IngressBuilder| {
        let found = IngressFacts::extract(&app.build(), &settings.keys).expect("an Ingress");
        index.may_lose_route(&found.key, &found)
    };
    let off = || app().sso("authentik", "false");
    assert!(may_lose_route(off()));
    assert!(may_lose_route(off().nginx("auth-url", "https://other.example.com/auth")));
    let url = "https://app.djieno.com/outpost.goauthentik.io/auth/nginx";
    assert!(!may_lose_route(off().nginx("auth-url", url)));
}

fn all_cases() -> Vec<Case> {
    [
        seed_case(),
        asking::asking(),
        asking::hosts(),
        asking::routes_to_the_outpost(),
        own_annotations::own_annotations(),
        outposts::choosing_an_outpost(),
        outposts::discovered_outposts(),
        classes::classes(),
        nginx::what_nginx_cannot_protect(),
        nginx::paths_that_take_the_login_away(),
        nginx::catches(),
        sharing_a_host::sharing_a_host(),
        sharing_a_host::a_refused_app_on_a_shared_host(),
        routes::routes_of_others(),
        routes::routes_of_ours_that_somebody_edited(),
        served_together::served_together(),
        names::names_already_taken(),
        names::names_and_labels(),
        asking::requests(),
        names::lost_headers(),
        states::status(),
        outposts::what_the_outpost_says(),
        states::opting_out(),
        traefik::by_its_own_annotations(),
        traefik::lists_with_entries_of_others(),
        traefik::in_place_of_nginx(),
        traefik::copies_by_migration(),
        traefik::middlewares_of_others(),
        traefik::sharing_a_host(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn seed_case() -> Vec<Case> {
    let world = World::new().app(read::<Ingress>(seed::BEFORE));
    let steps = [
        "1. create Service n8n-prd/authentik-proxy-outpost",
        "1. create ConfigMap n8n-prd/authentik-headers-4bd8e4f378",
        "1. create Ingress n8n-prd/n8n-outpost-path",
        "2. annotate n8n-prd/n8n: Protected + auth",
    ];
    vec![
        Case::new(
            "One annotation, and the app is behind authentik: companions first, then the annotations",
            world,
            Expected::Exactly(seed::AFTER),
        )
        .by(steps),
    ]
}
