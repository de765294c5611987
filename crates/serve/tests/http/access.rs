//! Who may ask what: every route with every kind of key.

use std::path::Path;

use acclimate_registry::Digest;
use acclimate_serve::http::{AdminConfig, Call, Listener, Needs, ROUTES, Route, Server, ServerConfig};
use serde_json::json;

use crate::common::{Client, Films, Reply, Running, config};

/// Name, tenant, key and roles.
const KEYS: [(&str, &str, &str, &[&str]); 5] = [
    ("scorer", "a", "key-of-the-scorer", &["score"]),
    ("adapter", "a", "key-of-the-adapter", &["adapt"]),
    ("both", "a", "key-of-both", &["score", "adapt"]),
    ("other", "b", "key-of-the-other", &["score", "adapt"]),
    ("operator", "a", "key-of-the-operator", &["admin"]),
];

fn key_file() -> String {
    let entry = |(name, tenant, key, roles): (&str, &str, &str, &[&str])| {
        format!("[[key]]\nname = \"{name}\"\ntenant = \"{tenant}\"\nsha256 = \"{}\"\nroles = {roles:?}\n\n", Digest::of(key.as_bytes()))
    };
    KEYS.map(entry).concat()
}

/// A server with keys, both listeners and a log.
fn guarded(folder: &Path) -> ServerConfig {
    let keys = folder.join("keys.toml");
    std::fs::write(&keys, key_file()).unwrap();
    let admin = AdminConfig { listen: Some("127.0.0.1:0".parse().unwrap()), token_file: folder.join("token"), token_sha256: None };
    ServerConfig { keys: Some(keys), admin, audit: Some(folder.join("audit.jsonl")), ..config() }
}

/// A path and a body that the route answers to whoever may ask.
fn example(route: &Route) -> (String, String) {
    let path = route.path.replace("{model}", "films").replace("{version}", "1").replace("{patch}", "films-tab2");
    let body = match route.call {
        Call::Score | Call::Rank => json!({"items": ["a"]}).to_string(),
        Call::Adapt => json!({"support": [{"item": "a", "label": 1}]}).to_string(),
        Call::Events => json!({"id": "e", "label": 1}).to_string(),
        Call::Infer => json!({"inputs": [{"name": "price", "shape": [1], "datatype": "FP32", "data": [1]}]}).to_string(),
        _ => String::new(),
    };
    (path, body)
}

async fn asked(server: &Running, route: &Route, key: Option<&str>) -> Reply {
    let address = if route.listener == Listener::Admin { server.admin.unwrap() } else { server.address };
    let (path, body) = example(route);
    let header = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<(&str, &str)> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
    Client::to(address).await.request(route.method, &path, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn every_route_is_answered_to_exactly_those_who_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(guarded(folder.path()));
    let token = std::fs::read_to_string(folder.path().join("token")).unwrap();
    let mut askers: Vec<(Option<&str>, &[&str])> = KEYS.iter().map(|(_, _, key, roles)| (Some(*key), *roles)).collect();
    askers.extend([(Some(token.as_str()), &["admin"][..]), (Some("guess"), &[]), (Some(""), &[]), (None, &[])]);
    let mut denied = 0;
    for route in ROUTES {
        for (key, roles) in &askers {
            // A listener knows its own keys only.
            let operator = *key == Some(token.as_str());
            let known = match route.listener {
                Listener::Public => !roles.is_empty() && !operator,
                Listener::Admin => roles.contains(&"admin"),
            };
            let role = match route.needs {
                Needs::Nothing | Needs::Key => None,
                Needs::Score => Some("score"),
                Needs::Adapt => Some("adapt"),
                Needs::Admin => Some("admin"),
            };
            let expected = match known {
                _ if route.needs == Needs::Nothing => 200,
                false => 401,
                true if role.is_some_and(|role| !roles.contains(&role)) => 403,
                true => 200,
            };
            let reply = asked(&server, route, *key).await;
            assert_eq!(reply.status, expected, "{} {} with {key:?}: {}", route.method, route.path, reply.text());
            assert_eq!(reply.headers.contains_key("www-authenticate"), expected == 401);
            denied += u64::from(expected != 200);
        }
    }
    // Each denial is in the log, and the log is whole.
    server.order_to_stop().await;
    let path = folder.path().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(acclimate_serve::audit::verify(&path).unwrap().lines as usize, text.lines().count());
    assert_eq!(text.lines().filter(|line| line.contains("\"event\":\"denied\"")).count() as u64, denied);
    assert!(text.contains("\"who\":\"127.0.0.1:") && text.contains("\"who\":\"scorer\""));
    let keys = KEYS.iter().map(|(_, _, key, _)| *key).chain([token.as_str()]);
    assert!(keys.into_iter().all(|key| !text.contains(key)), "a key stands in the log");
}

#[tokio::test]
async fn a_support_set_needs_a_key_that_adapts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(guarded(folder.path()));
    let body = json!({"items": ["a"], "support": [{"item": "b", "label": 1}]}).to_string();
    for path in ["/v1/score", "/v1/rank"] {
        for (key, status) in [("key-of-the-scorer", 403), ("key-of-both", 200)] {
            assert_eq!(server.client().await.post(path, &[("X-API-Key", key)], body.as_bytes()).await.status, status);
        }
    }
}

#[tokio::test]
async fn the_patch_of_another_tenant_looks_like_one_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(guarded(folder.path()));
    let ask = async |key: &str, patch: &str| {
        let body = json!({"patch": patch, "items": ["a"]}).to_string();
        server.client().await.post("/v1/score", &[("X-API-Key", key)], body.as_bytes()).await
    };
    assert_eq!(ask("key-of-both", "secret").await.status, 200);
    let (hidden, missing) = (ask("key-of-the-other", "secret").await, ask("key-of-the-other", "absent").await);
    assert_eq!(hidden.status, 404);
    assert_eq!((hidden.status, hidden.text().replace("secret", "absent")), (missing.status, missing.text()));
    for path in ["/v1/patches", "/v2/models/films--secret"] {
        let head = |key: &str| [("X-API-Key", key.to_owned())];
        let of = async |key: &str| {
            let headers = head(key);
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            server.client().await.request("GET", path, &headers, b"").await
        };
        assert!(of("key-of-both").await.text().contains("secret"));
        let other = of("key-of-the-other").await;
        assert!(other.status == 404 || !other.text().contains("secret"), "{}", other.text());
    }
}

#[tokio::test]
async fn a_tenant_at_its_limit_leaves_the_others_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = guarded(folder.path());
    config.limits.tenant_in_flight = 1;
    let server = Running::start(config);
    server.films.open.forget_permits(1 << 20);
    let head =
        |key: &str| format!("POST /v1/score HTTP/1.1\r\nhost: t\r\nx-api-key: {key}\r\ncontent-length: 16\r\n\r\n{{\"items\": [\"a\"]}}");
    let (mut first, mut other) = (server.client().await, server.client().await);
    first.send(head("key-of-both").as_bytes()).await;
    server.films.begun.acquire().await.unwrap().forget();
    let mut second = server.client().await;
    second.send(head("key-of-the-scorer").as_bytes()).await;
    assert_eq!(second.reply().await.status, 429);
    other.send(head("key-of-the-other").as_bytes()).await;
    server.films.begun.acquire().await.unwrap().forget();
    server.films.open.add_permits(2);
    assert_eq!((first.reply().await.status, other.reply().await.status), (200, 200));
}

#[tokio::test]
async fn two_keys_in_one_request_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(guarded(folder.path()));
    let headers = [("X-API-Key", "key-of-both"), ("Authorization", "Bearer key-of-both")];
    assert_eq!(server.client().await.request("GET", "/v1/patches", &headers, b"").await.status, 401);
    for wrong in ["Basic key-of-both", "Bearer", "key-of-both"] {
        assert_eq!(server.client().await.request("GET", "/v1/patches", &[("Authorization", wrong)], b"").await.status, 401, "{wrong}");
    }
    assert_eq!(server.client().await.request("GET", "/v1/patches", &[("Authorization", "bearer  key-of-both")], b"").await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_place_can_not_ask() {
    let server = Running::start(config());
    let reply = server.client().await.post("/v1/events", &[("Origin", "http://elsewhere")], br#"{"id": "e", "label": 1}"#).await;
    assert_eq!((reply.status, reply.error().1.as_str()), (403, "origin"));
}

#[tokio::test]
async fn the_operator_looks_loads_and_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(guarded(folder.path()));
    let token = std::fs::read_to_string(folder.path().join("token")).unwrap();
    let ask = async |method: &str, path: &str, body: &str| {
        Client::to(server.admin.unwrap()).await.request(method, path, &[("X-API-Key", &token)], body.as_bytes()).await
    };
    let status = ask("GET", "/admin/status", "").await.json();
    assert_eq!((&status["ready"], &status["models"][0]["name"], &status["in_flight"]), (&json!(true), &json!("films"), &json!(0)));
    assert_eq!(ask("POST", "/admin/refresh", "").await.json(), json!({"problems": []}));
    assert_eq!(ask("POST", "/admin/patches/films-tab2/load", r#"{"at": "v3"}"#).await.json()["name"], "films-tab2");
    assert_eq!(ask("POST", "/admin/patches/films-tab2/unload", "").await.json(), json!({"unloaded": "films-tab2"}));
    for (path, body, status) in [
        ("else/load", "", 404),
        ("Else/load", "", 400),
        ("films-tab2/load", "{\"to\": 1}", 400),
        ("films-tab2/load", "{\"at\": \"V\"}", 400),
    ] {
        assert_eq!(ask("POST", &format!("/admin/patches/{path}"), body).await.status, status, "{path} {body}");
    }
    // The public listener has none of it.
    assert_eq!(server.client().await.request("GET", "/admin/status", &[("X-API-Key", &token)], b"").await.status, 404);
}

#[cfg(unix)]
#[tokio::test]
async fn the_token_is_for_its_owner_and_new_at_each_start() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    // What lay there before, with rights for all or leading elsewhere, is replaced.
    std::fs::write(folder.path().join("elsewhere"), "old").unwrap();
    symlink(folder.path().join("elsewhere"), &path).unwrap();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        Server::bind(guarded(folder.path()), Films::new()).unwrap();
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().mode() & 0o7_777, 0o600);
        tokens.push(std::fs::read_to_string(&path).unwrap());
    }
    assert!(tokens[0].len() == 64 && tokens[0] != tokens[1]);
    assert_eq!(std::fs::read_to_string(folder.path().join("elsewhere")).unwrap(), "old");
    let config = guarded(folder.path());
    let given = AdminConfig { token_sha256: Some(Digest::of(b"given")), token_file: folder.path().join("none"), ..config.admin.clone() };
    Server::bind(ServerConfig { admin: given, ..config }, Films::new()).unwrap();
    assert!(!folder.path().join("none").exists());
}

#[test]
fn a_server_that_would_be_open_or_can_not_read_its_files_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let (hash, path) = (Digest::of(b"k"), folder.path().join("k.toml"));
    let key =
        |name: &str, hash: &str, roles: &str| format!("[[key]]\nname = \"{name}\"\ntenant = \"t\"\nsha256 = \"{hash}\"\nroles = {roles}\n");
    let hash = hash.to_string();
    let files = [
        (String::new(), "nobody could ask"),
        (key("a", &hash, "[]"), "has no roles"),
        (key("a", &hash, "[\"root\"]"), "unknown variant `root`"),
        (key("a", "abc", "[\"score\"]"), "is no SHA-256"),
        (key("A", &hash, "[\"score\"]"), "is no name"),
        ([key("a", &hash, "[\"score\"]"), key("b", &hash, "[\"adapt\"]")].concat(), "is there under another name"),
        ([key("a", &hash, "[\"score\"]"), key("a", &Digest::of(b"l").to_string(), "[\"adapt\"]")].concat(), "two keys are named `a`"),
        (format!("{}key = \"k\"\n", key("a", &hash, "[\"score\"]")), "unknown field `key`"),
    ];
    for (text, message) in files {
        std::fs::write(&path, &text).unwrap();
        let error = Server::bind(ServerConfig { keys: Some(path.clone()), ..config() }, Films::new()).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let missing = ServerConfig { keys: Some(folder.path().join("absent")), ..config() };
    assert!(Server::bind(missing, Films::new()).unwrap_err().to_string().contains("absent"));
    let admin = AdminConfig { listen: Some("0.0.0.0:0".parse().unwrap()), token_file: folder.path().join("t"), token_sha256: None };
    let error = Server::bind(ServerConfig { admin, ..config() }, Films::new()).unwrap_err().to_string();
    assert!(error.contains("the token would be read on its way"), "{error}");
}
