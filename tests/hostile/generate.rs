//! What hostile owners of a namespace may write, as values that proptest can make and shrink.

use ingress_sso::contract::middleware_name;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Namespaces of the two who share a cluster.
const NAMESPACES: [&str; 2] = ["one", "two"];

/// Longest name of an object.
const MAX_NAME: usize = 253;

/// Keys that the controller reads or writes, and some that it should not care for.
const KEYS: [&str; 32] = [
    "acme.cert-manager.io/http01-edit-in-place",
    "example.com/note",
    "kubernetes.io/ingress.class",
    "nginx.ingress.kubernetes.io/auth-method",
    "nginx.ingress.kubernetes.io/auth-proxy-set-headers",
    "nginx.ingress.kubernetes.io/auth-response-headers",
    "nginx.ingress.kubernetes.io/auth-signin",
    "nginx.ingress.kubernetes.io/auth-snippet",
    "nginx.ingress.kubernetes.io/auth-tls-secret",
    "nginx.ingress.kubernetes.io/auth-url",
    "nginx.ingress.kubernetes.io/canary",
    "nginx.ingress.kubernetes.io/custom-http-errors",
    "nginx.ingress.kubernetes.io/permanent-redirect",
    "nginx.ingress.kubernetes.io/proxy-buffer-size",
    "nginx.ingress.kubernetes.io/rewrite-target",
    "nginx.ingress.kubernetes.io/satisfy",
    "nginx.ingress.kubernetes.io/server-alias",
    "nginx.ingress.kubernetes.io/server-snippet",
    "nginx.ingress.kubernetes.io/ssl-passthrough",
    "nginx.ingress.kubernetes.io/upstream-vhost",
    "sso.djieno.com/app",
    "sso.djieno.com/auth-route",
    "sso.djieno.com/authentik",
    "sso.djieno.com/headers-uid",
    "sso.djieno.com/message",
    "sso.djieno.com/outpost",
    "sso.djieno.com/scheme",
    "sso.djieno.com/status",
    "traefik.ingress.kubernetes.io/router.entrypoints",
    "traefik.ingress.kubernetes.io/router.middlewares",
    "traefik.ingress.kubernetes.io/router.priority",
    "traefik.ingress.kubernetes.io/router.tls.options",
];

/// A world of a few Ingresses and what stands beside them.
pub(crate) fn world() -> impl Strategy<Value = Vec<Value>> {
    let others = prop_oneof![3 => service(), 2 => middleware(), 1 => config_map(), 3 => route()];
    (vec(ingress(), 1..4), vec(others, 0..5)).prop_map(|(mut all, others)| {
        all.extend(others);
        all
    })
}

/// The same, in one object of which any part has become anything.
pub(crate) fn mutated_world() -> impl Strategy<Value = Vec<Value>> {
    let mutations = vec((any::<prop::sample::Index>(), any_json()), 1..4);
    (world(), any::<prop::sample::Index>(), mutations).prop_map(|(mut world, which, mutations)| {
        let object = which.get_mut(&mut world[..]);
        for (place, value) in mutations {
            let mut places = Vec::new();
            pointers(object, String::new(), &mut places);
            if let Some(found) = object.pointer_mut(&places[place.index(places.len())]) {
                *found = value;
            }
        }
        world
    })
}

/// Text that means something to YAML, nginx, a shell or HTTP, and some that means nothing.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => r#"[\r\n"'`$;{}#%\\ a-z0-9.*/:-]{0,30}"#,
        2 => any::<String>(),
        4 => select(vec![
            "",
            " ",
            "\0",
            "*",
            "*.*.example.com",
            "../../etc/passwd",
            "A.example.com",
            "a.example.com\"; return 200; #",
            "a.example.com\nb",
            "a.example.com:8080",
            "a_b.example.com",
            "$host",
            "$http_x.example.com",
            "10.0.0.1",
            "010.0.0.01",
            "[::1]",
            "${jndi:ldap://x}",
            "http://evil.example.com",
            "https://ak-outpost-alpha.authentik.svc.cluster.local:9000@evil.example.com",
            "alpha@evil.example.com",
            "evil.example.com/outpost.goauthentik.io",
            "\u{202e}moc.elpmaxe",
            "bücher.example.com",
            "true\n",
        ]).prop_map(str::to_owned),
        1 => (0..=5_usize).prop_map(|power| "x".repeat(1 << (2 * power))),
    ]
}

/// Much of something: all that an annotation may hold, and more.
fn much() -> impl Strategy<Value = String> {
    (select(vec!["x", "\"", "\n", "{", "é", "/a(b|c)*"]), select(vec![1 << 10, 250_000, 262_000, 1 << 20]))
        .prop_map(|(part, size)| part.repeat(size / part.len()))
}

/// The name of an object: mostly one that the API server takes.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(vec!["app", "shop", "app-outpost-path", "shop-outpost-path", "a.b", "0"]).prop_map(str::to_owned),
        2 => (200..=MAX_NAME).prop_map(|length| "n".repeat(length)),
        1 => Just(format!("{}.x", "n-".repeat(126)).replace("-.", "n.")),
        1 => Just("a.".repeat(126) + "b"),
        1 => "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?){0,3}",
        1 => hostile(),
    ]
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(NAMESPACES.to_vec()).prop_map(str::to_owned),
        1 => Just("s".repeat(63)),
        1 => hostile(),
    ]
}

/// The host of a rule.
fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(vec!["a.example.com", "b.example.com", "*.example.com", "localhost", "xn--bcher-kva.example.com"])
            .prop_map(str::to_owned),
        1 => Just(format!("{}.example.com", "h".repeat(MAX_NAME - 12))),
        1 => Just(format!("*.{}.com", "w".repeat(MAX_NAME - 6))),
        1 => "([a-z0-9]{1,63}\\.){1,3}[a-z]{2}",
        3 => hostile(),
    ]
}

fn hosts() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        200 => vec(host(), 0..4),
        1 => Just((0..1000).map(|number| format!("h{number}.example.com")).collect()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => Just("/".to_owned()),
        3 => select(vec![
            "/outpost.goauthentik.io",
            "/outpost.goauthentik.io/",
            "/outpost.goauthentik.io/start",
            "/(outpost|login|logout|register|sign).*",
            "/((a*)*)*(b|c){1,1000}{1,1000}$",
            "/[\\p{L}\\w]{1,500}{1,500}",
        ]).prop_map(str::to_owned),
        1 => hostile().prop_map(|text| format!("/{text}")),
        1 => hostile(),
    ]
}

fn annotation() -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![
        60 => select(vec![
            "true", "false", "1", "host", "direct", "https", "http", "alpha", "beta", "gamma", "Protected", "nginx", "traefik",
            "any", "401", "16k", "one/authentik-headers-0123456789", "two/config",
            "https://a.example.com/outpost.goauthentik.io/auth/nginx",
            "http://ak-outpost-alpha.authentik.svc.cluster.local:9000/outpost.goauthentik.io/auth/traefik",
            "http://ingress-sso.invalid/closed", "closed@ingress-sso", "gzip@file, one-strip@kubernetescrd", "websecure",
            "9223372036854775807",
        ]).prop_map(str::to_owned),
        20 => select(NAMESPACES.to_vec())
            .prop_map(|namespace| format!("{namespace}-{}@kubernetescrd", middleware_name(namespace, "alpha"))),
        40 => hostile(),
        1 => much(),
    ];
    (select(KEYS.to_vec()), value).prop_map(|(key, value)| (key.to_owned(), json!(value)))
}

/// Annotations, most of which ask for protection.
fn annotations() -> impl Strategy<Value = Value> {
    (option::weighted(0.9, Just(())), vec(annotation(), 0..4)).prop_map(|(opt_in, others)| {
        let mut all: Map<String, Value> = others.into_iter().collect();
        if opt_in.is_some() {
            all.insert("sso.djieno.com/authentik".to_owned(), json!("true"));
        }
        Value::Object(all)
    })
}

/// Who wrote the annotations, by the notes of an API server to which anybody may give the controller's name.
fn managed_fields() -> impl Strategy<Value = Value> {
    let owned = vec(select(KEYS.to_vec()), 0..4);
    let entry = (select(vec!["ingress-sso", "kubectl"]), select(vec!["Apply", "Update"]), owned);
    vec(entry, 0..3).prop_map(|entries| {
        let entries = entries.into_iter().map(|(manager, operation, owned)| {
            let owned: Map<String, Value> =
                owned.into_iter().map(|key| (format!("f:{key}"), json!({}))).collect();
            json!({
                "manager": manager, "operation": operation,
                "fieldsV1": { "f:metadata": { "f:annotations": owned } },
            })
        });
        entries.collect()
    })
}

fn class() -> impl Strategy<Value = Value> {
    let known = select(vec!["nginx", "internal", "traefik", "migration", "haproxy", "unknown"]);
    prop_oneof![8 => known.prop_map(|class| json!(class)), 1 => Just(Value::Null), 1 => hostile().prop_map(|class| json!(class))]
}

fn ingress() -> impl Strategy<Value = Value> {
    let metadata = (namespace(), name(), annotations(), managed_fields(), labels(), owners());
    let spec = (class(), hosts(), vec((path(), path_type()), 1..3), any::<bool>());
    (metadata, spec).prop_map(|(metadata, (class, hosts, paths, is_deleted))| {
        let (namespace, name, annotations, managed_fields, labels, owners) = metadata;
        let paths: Vec<Value> = paths
            .into_iter()
            .map(|(path, path_type)| json_path(&path, path_type, "app", &json!({ "number": 80 })))
            .collect();
        let rules: Vec<Value> =
            hosts.iter().map(|host| json!({ "host": host, "http": { "paths": paths } })).collect();
        let deleted = (is_deleted && rules.len() == 3).then_some("2026-01-02T00:00:00Z");
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "namespace": namespace, "name": name, "annotations": annotations, "labels": labels,
                "managedFields": managed_fields, "ownerReferences": owners, "deletionTimestamp": deleted,
            },
            "spec": { "ingressClassName": class, "rules": rules },
        })
    })
}

/// The route of an app as the controller makes it, or something that passes for one.
fn route() -> impl Strategy<Value = Value> {
    let port = select(vec![json!({ "number": 9000 }), json!({ "name": "http" }), json!({ "number": 0 })]);
    let backend = prop_oneof![3 => Just("authentik-alpha".to_owned()), 1 => name()];
    let app = prop_oneof![3 => Just("app".to_owned()), 1 => name()];
    let parts = (namespace(), app, labels(), owners(), class(), vec(host(), 1..4));
    (parts, backend, port, annotations(), path_type()).prop_map(
        |((namespace, app, labels, owners, class, hosts), backend, port, mut annotations, path_type)| {
            annotations["sso.djieno.com/authentik"] = json!("false");
            annotations["sso.djieno.com/app"] = json!(app);
            let path = json_path("/outpost.goauthentik.io", path_type, &backend, &port);
            let rules: Vec<Value> =
                hosts.iter().map(|host| json!({ "host": host, "http": { "paths": [path] } })).collect();
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {
                    "namespace": namespace, "name": format!("{app}-outpost-path"), "labels": labels,
                    "annotations": annotations, "ownerReferences": owners,
                },
                "spec": { "ingressClassName": class, "rules": rules },
            })
        },
    )
}

fn json_path(path: &str, path_type: &str, service: &str, port: &Value) -> Value {
    json!({ "path": path, "pathType": path_type, "backend": { "service": { "name": service, "port": port } } })
}

fn path_type() -> impl Strategy<Value = &'static str> {
    select(vec!["ImplementationSpecific", "Prefix", "Exact"])
}

/// Labels, often the controller's own or authentik's.
fn labels() -> impl Strategy<Value = Value> {
    let outpost = prop_oneof![3 => Just("alpha".to_owned()), 1 => Just("beta".to_owned()), 2 => hostile()];
    (select(vec!["", "ingress-sso", "goauthentik.io", "Helm"]), outpost).prop_map(|(manager, outpost)| {
        json!({
            "app.kubernetes.io/managed-by": manager,
            "goauthentik.io/outpost-name": outpost,
            "goauthentik.io/outpost-type": "proxy",
            "sso.djieno.com/outpost": outpost,
        })
    })
}

fn owners() -> impl Strategy<Value = Value> {
    let owner = json!([{
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "app", "controller": true,
        "uid": "00000000-0000-4000-8000-000000000001",
    }]);
    select(vec![Value::Null, owner])
}

fn service() -> impl Strategy<Value = Value> {
    let name = prop_oneof![3 => Just("authentik-alpha".to_owned()), 1 => Just("ak-outpost-evil".to_owned()), 1 => name()];
    let host = prop_oneof![
        2 => Just("ak-outpost-alpha.authentik.svc.cluster.local".to_owned()),
        2 => Just("evil.example.com".to_owned()),
        1 => hostile(),
    ];
    let port = select(vec![9000, 0, -1, 65_536, 443]);
    let port_name = select(vec!["http", "https", "x"]);
    (namespace(), name, labels(), host, port, port_name).prop_map(
        |(namespace, name, labels, host, port, port_name)| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "namespace": namespace, "name": name, "labels": labels },
                "spec": {
                    "type": if host == "evil.example.com" { "ClusterIP" } else { "ExternalName" },
                    "externalName": host, "ports": [{ "name": port_name, "port": port }],
                },
            })
        },
    )
}

fn middleware() -> impl Strategy<Value = Value> {
    let name = (select(NAMESPACES.to_vec()), any::<bool>()).prop_map(|(namespace, is_twin)| {
        let name = middleware_name(namespace, "alpha");
        if is_twin { name.replacen("authentik-", "", 1) } else { name }
    });
    let spec = select(vec![
        json!({}),
        json!({ "stripPrefix": {} }),
        json!({ "forwardAuth": { "address": "http://evil.example.com", "authRequestHeaders": ["X"] } }),
        json!({ "forwardAuth": { "address": "http://evil.example.com" }, "plugin": { "x": "\n" } }),
    ]);
    let namespace = prop_oneof![3 => namespace(), 1 => Just("one-authentik".to_owned())];
    (namespace, name, labels(), spec).prop_map(|(namespace, name, labels, spec)| {
        json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
            "metadata": { "namespace": namespace, "name": name, "labels": labels },
            "spec": spec,
        })
    })
}

fn config_map() -> impl Strategy<Value = Value> {
    let data = select(vec![json!({}), json!({ "X-Forwarded-Host": "$http_host" }), json!({ "a": "b\nc" })]);
    (namespace(), "authentik-headers-[0-9a-f]{10}", labels(), data).prop_map(
        |(namespace, name, labels, data)| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "namespace": namespace, "name": name, "labels": labels },
                "data": data,
            })
        },
    )
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        hostile().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((hostile(), inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The places in `value`, as JSON Pointers.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    let mut inner = |key: &str, value: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        pointers(value, format!("{at}/{key}"), found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| inner(key, value)),
        Value::Array(items) => {
            items.iter().take(8).enumerate().for_each(|(place, value)| inner(&place.to_string(), value));
        }
        _ => {}
    }
    found.push(at);
}
