//! What a stranger may try: one entry a trick.

use super::Door;
use super::door::port_of;
use crate::config::Scheme;
use crate::contract::OUTPOST_PATH;
use std::fmt;

/// A host that no app has: `.invalid` is reserved (RFC 2606).
const NOBODY: &str = "ingress-sso-knock.invalid";

/// One thing to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trick {
    /// A short name of its own.
    pub name: &'static str,
    /// How the request differs from that of a visitor.
    pub sends: Sends,
    /// Where this is known to lead past a login, and how: a sentence without its full stop.
    pub why: &'static str,
    /// What to change where it does: a sentence without its full stop.
    pub remedy: &'static str,
}

/// How a request differs from that of a visitor. In the texts, `{host}`, `{HOST}`, `{port}`, `{scheme}`, `{path}` and `{rest}`
/// stand for what the door has, the last being the path without its first slash; `{outpost}` is the outpost's path, and
/// `{nobody}` a host that no app has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// One more header, which claims that the request is for something else.
    Header(&'static str, &'static str),
    /// Another spelling of the host.
    Host(&'static str),
    /// A whole URL in the request line, beside another host in the header.
    Line(&'static str, &'static str),
    /// Another path, not cleaned.
    Path(&'static str),
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Knock {
    /// What stands in the request line.
    pub(super) target: String,
    /// The header `Host`.
    pub(super) host: String,
    /// Another header.
    pub(super) header: Option<(&'static str, String)>,
}

impl Knock {
    /// What a visitor sends who asks for `path`.
    pub(super) fn at(door: &Door, path: &str) -> Self {
        Self { target: path.to_owned(), host: door.asked_host(), header: None }
    }
}

impl Trick {
    /// The request at a door where `scheme` is spoken.
    pub(super) fn request(&self, door: &Door, scheme: Scheme) -> Knock {
        let fill = |text: &str| fill(text, door, scheme);
        let visitor = Knock::at(door, door.path());
        match self.sends {
            Sends::Header(name, value) => Knock { header: Some((name, fill(value))), ..visitor },
            Sends::Host(host) => Knock { host: fill(host), ..visitor },
            Sends::Line(target, host) => Knock { target: fill(target), host: fill(host), ..visitor },
            Sends::Path(path) => Knock { target: fill(path), ..visitor },
        }
    }

    /// Whether it claims that the request is for something else, so that an answer that differs from a visitor's shows that
    /// the claim is believed.
    pub(super) fn is_claim(&self) -> bool {
        matches!(self.sends, Sends::Header(..))
    }

    /// Whether the outpost may answer it by itself.
    pub(super) fn is_path(&self) -> bool {
        matches!(self.sends, Sends::Path(_))
    }
}

fn fill(text: &str, door: &Door, scheme: Scheme) -> String {
    let (host, path) = (door.asked_host(), door.path());
    text.replace("{outpost}", OUTPOST_PATH)
        .replace("{nobody}", NOBODY)
        .replace("{host}", &host)
        .replace("{HOST}", &host.to_uppercase())
        .replace("{port}", &port_of(scheme).to_string())
        .replace("{scheme}", &scheme.to_string())
        .replace("{path}", path)
        .replace("{rest}", path.strip_prefix('/').unwrap_or(path))
}

impl fmt::Display for Trick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const WRONG_DIALECT: &str = "The app has the annotations of ingress-nginx and Traefik serves it: have the admin say so with \
     --class CLASS=traefik-nginx, and remove auth annotations that were copied or written by hand";

const FORWARDED: &str = "Have the ingress controller not believe what visitors say: for ingress-nginx, leave \
     use-forwarded-headers off and auth-proxy-set-headers as this controller writes it; for Traefik, leave \
     forwardedHeaders.insecure off, keep visitors out of trustedIPs, and set trustForwardHeader: false in the Middleware. \
     Where something in front has to be believed, it has to overwrite this header";

const DOT_SEGMENTS: &str = "Have the admin set the lines of server-snippet that docs/data-planes.md has under \"Dot segments\" \
     in the ConfigMap of ingress-nginx";

const OTHER_SERVER: &str =
    "Look which Ingress or default backend answers for this spelling of the host, and protect it as well";

/// All of them.
pub const TRICKS: [Trick; 20] = [
    Trick {
        name: "X-Original-URL to the outpost's path",
        sends: Sends::Header("x-original-url", "{scheme}://{host}{outpost}/x"),
        why: "Only ingress-nginx overwrites this header: behind Traefik, an outpost that is asked at /auth/nginx takes the \
              visitor's own for the URL that is asked for, and lets its own paths pass",
        remedy: WRONG_DIALECT,
    },
    Trick {
        name: "X-Original-URI to the outpost's path",
        sends: Sends::Header("x-original-uri", "{outpost}/x"),
        why: "GHSA-5wcc-hf24-rf5h: authentik before 2025.12.5 and 2026.2.3 believes it before X-Original-URL",
        remedy: "Update authentik, and check that the Ingress has the annotation auth-proxy-set-headers, by which this \
                 controller takes the header away",
    },
    Trick {
        name: "X-Forwarded-Uri to the outpost's path",
        sends: Sends::Header("x-forwarded-uri", "{outpost}/x"),
        why: "CVE-2026-25748: authentik before 2025.10.4 and 2025.12.4 lets such a path pass at /auth/traefik; with later \
              ones a visitor may still claim one of the provider's Unauthenticated Paths",
        remedy: FORWARDED,
    },
    Trick {
        name: "X-Forwarded-Host of nobody",
        sends: Sends::Header("x-forwarded-host", "{nobody}"),
        why: "An outpost chooses the app by it: a user of another app claims that app's host, and is let in here",
        remedy: FORWARDED,
    },
    Trick {
        name: "X-Forwarded-Host with the outpost's path",
        sends: Sends::Header("x-forwarded-host", "{host}{outpost}/x?"),
        why: "An outpost joins it with X-Forwarded-Uri to the URL that is asked for, so the path may come from here",
        remedy: FORWARDED,
    },
    Trick {
        name: "Forwarded for the host of nobody",
        sends: Sends::Header("forwarded", "for=127.0.0.1;host={nobody};proto=https"),
        why: "Outposts from 2026.8 choose the app by it where there is no X-Forwarded-Host",
        remedy: FORWARDED,
    },
    Trick {
        name: "X-Forwarded-Proto: http",
        sends: Sends::Header("x-forwarded-proto", "http"),
        why: "Where it is believed, so are the others of its kind, and logins lead back to http://",
        remedy: FORWARDED,
    },
    Trick {
        name: "X-Forwarded-Method: OPTIONS",
        sends: Sends::Header("x-forwarded-method", "OPTIONS"),
        why: "An auth check that lets preflight requests pass can be told that this is one",
        remedy: FORWARDED,
    },
    Trick {
        name: "Connection with the names of other headers",
        sends: Sends::Header(
            "connection",
            "x-forwarded-host, x-forwarded-uri, x-forwarded-proto, x-original-url, x-original-uri",
        ),
        why: "CVE-2024-45410: Traefik before 2.11.9 and 3.1.3 lets visitors take away headers that it adds",
        remedy: "Update Traefik",
    },
    Trick {
        name: "the host in upper case",
        sends: Sends::Host("{HOST}"),
        why: "Hosts are the same in any case, and something on the way may compare them as texts",
        remedy: OTHER_SERVER,
    },
    Trick {
        name: "the host with its port",
        sends: Sends::Host("{host}:{port}"),
        why: "The usual port changes nothing, and something on the way may compare hosts as texts",
        remedy: OTHER_SERVER,
    },
    Trick {
        name: "the host with the outpost's path for a port",
        sends: Sends::Host(r"{host}:\outpost.goauthentik.io\"),
        why: "Behind ingress-nginx, the outpost is asked about a URL with this host, in which those from 2026.8 take a backslash \
              for a slash, and so the request for one of their own",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "a whole URL in the request line",
        sends: Sends::Line("{scheme}://{host}{path}", "{nobody}"),
        why: "The URL decides who answers (RFC 9112, 3.2.2), and what asks the outpost may go by the header",
        remedy: "In annotations and headers for the outpost, write $host, which is the host of the URL, and not $http_host",
    },
    Trick {
        name: "the outpost's path and /../",
        sends: Sends::Path("{outpost}/..{path}"),
        why: "Behind ingress-nginx, the cleaned path is the app's while the outpost is asked about the raw one, which up to \
              2026.5 it takes for its own",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "the outpost's path and /%2e%2e/",
        sends: Sends::Path("{outpost}/%2e%2e{path}"),
        why: "As with /../, where only that is cleaned",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "the outpost's path and /..%2f",
        sends: Sends::Path("{outpost}/..%2f{rest}"),
        why: "Behind ingress-nginx, the cleaned path is the app's while the outpost is asked about the raw one, which it \
              takes for its own",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "the outpost's path and %2f..%2f",
        sends: Sends::Path("{outpost}%2f..%2f{rest}"),
        why: "As with /..%2f, where only that is rejected",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "the outpost's path behind a backslash",
        sends: Sends::Path(r"/.\outpost.goauthentik.io\x"),
        why: "It is the app's, and outposts from 2026.8 take a backslash for a slash, and so the path for one of their own",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "a path that begins like the outpost's",
        sends: Sends::Path("{outpost}x"),
        why: "It is the app's, and an outpost that is asked at /auth/nginx takes it for its own",
        remedy: DOT_SEGMENTS,
    },
    Trick {
        name: "a path that begins like the outpost's, escaped",
        sends: Sends::Path("/%6futpost.goauthentik.iox"),
        why: "It is the app's, and outposts up to 2026.5 take it for their own once it is decoded",
        remedy: DOT_SEGMENTS,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Host;
    use std::collections::BTreeSet;

    fn door() -> Door {
        Door::new(Host::parse("app.example.com").unwrap(), Scheme::Https).at_path("/a?b").unwrap()
    }

    #[test]
    fn each_is_another_request_than_a_visitors_and_than_the_others() {
        let mut requests: Vec<Knock> =
            TRICKS.iter().map(|trick| trick.request(&door(), Scheme::Https)).collect();
        requests.push(Knock::at(&door(), door().path()));
        for request in &requests {
            let text = format!("{request:?}");
            assert_eq!(text.matches('{').count(), 1, "something is not filled in: {text}");
            let same = requests.iter().filter(|other| *other == request);
            assert_eq!(same.count(), 1, "{text}");
        }
        let names: BTreeSet<&str> = TRICKS.iter().map(|trick| trick.name).collect();
        assert_eq!(names.len(), TRICKS.len());
    }

    #[test]
    fn none_could_log_anyone_in_or_out() {
        for trick in TRICKS {
            let text = format!("{:?}", trick.request(&door(), Scheme::Https)).to_lowercase();
            for forbidden in ["cookie", "authorization", "/callback", "/sign_out", "/start", "x-authentik"] {
                assert!(!text.contains(forbidden), "{}: {text}", trick.name);
            }
        }
    }

    #[test]
    fn texts_are_filled_in() {
        let request = |name: &str| {
            let trick = TRICKS.iter().find(|trick| trick.name == name).unwrap();
            trick.request(&door(), Scheme::Https)
        };
        assert_eq!(request("the outpost's path and /..%2f").target, "/outpost.goauthentik.io/..%2fa?b");
        assert_eq!(request("the host with its port").host, "app.example.com:443");
        assert_eq!(request("the host in upper case").host, "APP.EXAMPLE.COM");
        let line = request("a whole URL in the request line");
        assert_eq!((line.target.as_str(), line.host.as_str()), ("https://app.example.com/a?b", NOBODY));
        let header = request("X-Original-URL to the outpost's path").header.unwrap();
        assert_eq!(header.1, "https://app.example.com/outpost.goauthentik.io/x");
    }
}
