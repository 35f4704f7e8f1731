//! Apps as their owners may write them.

use fastrand::Rng;
use ingress_sso::contract::{AUTH_URL, ROUTER_MIDDLEWARES};
use ingress_sso_testbed::builders::ingress;
use k8s_openapi::api::networking::v1::Ingress;

/// How many apps there can be at a time.
pub(crate) const SLOTS: usize = 6;

pub(crate) const NAMESPACES: [&str; 3] = ["one", "two", "three"];

/// Where the outpost `alpha` is.
pub(crate) const ALPHA: &str = "ak-outpost-alpha.authentik.svc.cluster.local";

const HOSTS: [&str; 4] = ["a.example.com", "b.example.com", "c.example.com", "*.example.com"];

/// Mostly what is served, and one that nobody knows.
const CLASSES: [&str; 9] =
    ["nginx", "nginx", "nginx", "internal", "traefik", "traefik", "traefik", "migration", "unknown"];

const OPT_INS: [&str; 8] = ["true", "true", "true", "true", "true", "true", "false", "yes"];

const OUTPOSTS: [&str; 8] = ["", "", "", "", "alpha", "beta", "beta", "gamma"];

const ROUTES: [&str; 6] = ["", "", "", "host", "direct", "odd"];

const EXTRAS: [(&str, &str); 6] = [
    (AUTH_URL, "https://other.example.com/auth"),
    ("nginx.ingress.kubernetes.io/canary", "true"),
    ("nginx.ingress.kubernetes.io/proxy-buffer-size", "8k"),
    ("nginx.ingress.kubernetes.io/satisfy", "any"),
    (ROUTER_MIDDLEWARES, "one-strip@kubernetescrd,gzip@file"),
    ("example.com/note", "keep me"),
];

/// What its owner wrote. Texts that are empty stand for what is not written at all.
#[derive(Clone, Debug)]
pub(crate) struct App {
    opt_in: &'static str,
    pub(crate) hosts: Vec<&'static str>,
    class: &'static str,
    outpost: &'static str,
    route: &'static str,
    extra: Option<(&'static str, &'static str)>,
}

impl App {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self {
            opt_in: choice(rng, &OPT_INS),
            hosts: hosts(rng),
            class: choice(rng, &CLASSES),
            outpost: choice(rng, &OUTPOSTS),
            route: choice(rng, &ROUTES),
            extra: (rng.u8(0..10) < 3).then(|| choice(rng, &EXTRAS)),
        }
    }

    /// The same with one thing changed.
    pub(crate) fn changed(mut self, rng: &mut Rng) -> Self {
        match rng.u8(0..10) {
            0..3 => self.opt_in = if self.opt_in == "true" { choice(rng, &["", "false"]) } else { "true" },
            3..5 => self.hosts = hosts(rng),
            5 => self.class = choice(rng, &CLASSES),
            6..8 => self.outpost = choice(rng, &OUTPOSTS),
            8 => self.route = choice(rng, &ROUTES),
            _ => self.extra = Some(choice(rng, &EXTRAS)).filter(|_| self.extra.is_none()),
        }
        self
    }

    /// Its Ingress, if it is the app in this slot.
    pub(crate) fn ingress(&self, slot: usize) -> Ingress {
        let builder = ingress(NAMESPACES[slot % NAMESPACES.len()], &format!("app-{slot}"))
            .hosts(&self.hosts)
            .class(self.class);
        let asked = [
            ("sso.djieno.com/authentik", self.opt_in),
            ("sso.djieno.com/outpost", self.outpost),
            ("sso.djieno.com/auth-route", self.route),
        ];
        let written = asked.into_iter().filter(|(_, value)| !value.is_empty()).chain(self.extra);
        written.fold(builder, |builder, (key, value)| builder.annotation(key, value)).build()
    }
}

fn hosts(rng: &mut Rng) -> Vec<&'static str> {
    let first = choice(rng, &HOSTS);
    let second = choice(rng, &HOSTS);
    let is_one = first == second || rng.u8(0..10) < 7;
    if is_one { vec![first] } else { vec![first, second] }
}

fn choice<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(0..of.len())]
}
