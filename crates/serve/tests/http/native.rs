//! The protocol of `/v1`: what is asked reaches the service, what it answers comes back, and what is wrong is told with its place.

use std::collections::BTreeMap;

use crate::common::{Films, Running, config, name, score};
use acclimate_data::RawValue;
use acclimate_serve::api::{At, Choice, Given, SupportSet};
use acclimate_serve::http::{Listener, ROUTES, Server};
use serde_json::{Value, json};

fn given(columns: &[(&str, RawValue)]) -> Given {
    columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn text(text: &str) -> RawValue {
    RawValue::Text(text.to_owned())
}

#[tokio::test]
async fn scores_are_those_of_the_service_for_what_was_asked() {
    let server = Running::start(config());
    let body = json!({
        "base": "films", "patch": "films-tab2@challenger", "fallback": true, "user": "u1", "time": 7, "features": {"device": "phone", "new": true, "none": null},
        "items": ["i1", 5, {"item": "i2", "genre": ["a", 2, null], "price": 1.5}], "deadline_ms": 250.5,
    });
    let reply = server.post("/v1/score", body.to_string()).await;
    let shared = given(&[
        ("user", text("u1")),
        ("time", RawValue::Integer(7)),
        ("device", text("phone")),
        ("new", RawValue::Bool(true)),
        ("none", RawValue::Missing),
    ]);
    let genre = RawValue::List(vec![text("a"), RawValue::Integer(2), RawValue::Missing]);
    let rows = [
        given(&[("item", text("i1"))]),
        given(&[("item", RawValue::Integer(5))]),
        given(&[("item", text("i2")), ("genre", genre), ("price", RawValue::Number(1.5))]),
    ];
    let expected: Vec<f32> = rows.iter().map(|row| score(&shared, row, Some("films-tab2"))).collect();
    assert_eq!(reply.scores(), expected);
    assert_eq!(reply.json()["served"]["patch"]["name"], "films-tab2");
    assert_eq!(reply.json()["served"]["base"]["version"], "v000001");
    let ask = server.films.last.lock().unwrap().clone().unwrap();
    assert_eq!((ask.base, ask.ladder, ask.shared, ask.items), (Some(name("films")), true, shared, rows.to_vec()));
    assert_eq!(ask.choice, Choice::Patch { name: name("films-tab2"), at: At::Alias(name("challenger")) });
    assert_eq!(ask.deadline.unwrap().as_micros(), 250_500);
}

#[tokio::test]
async fn a_patch_is_champion_unless_an_alias_or_a_version_is_named() {
    let server = Running::start(config());
    let champion = |at| Choice::Patch { name: name("films-tab2"), at };
    let version = |number| At::Version(acclimate_registry::Version::new(number).unwrap());
    let cases = [
        (json!({"items": ["i"]}), Choice::Base),
        (json!({"items": ["i"], "patch": "films-tab2"}), champion(At::Alias(name("champion")))),
        (json!({"items": ["i"], "patch": "films-tab2@v3"}), champion(version(3))),
        (json!({"items": ["i"], "patch": "films-tab2@v000017"}), champion(version(17))),
        (json!({"items": ["i"], "domain": "tab=2"}), Choice::Domain("tab=2".to_owned())),
    ];
    for (body, choice) in cases {
        assert_eq!(server.post("/v1/score", body.to_string()).await.status, 200, "{body}");
        assert_eq!(server.films.last.lock().unwrap().as_ref().unwrap().choice, choice, "{body}");
    }
}

#[tokio::test]
async fn a_ranking_is_by_falling_score_with_ties_in_the_order_of_the_request() {
    let server = Running::start(config());
    let items =
        json!([{"item": "a", "price": 1}, {"item": "a", "price": 3}, {"price": 50}, {"item": "a", "price": 3}, {"item": "a", "price": 2}]);
    for k in [None, Some(1), Some(2), Some(3), Some(5), Some(99)] {
        let mut body = json!({"items": items});
        body.as_object_mut().unwrap().extend(k.map(|k| ("k".to_owned(), json!(k))));
        let ranked = server.post("/v1/rank", body.to_string()).await.json();
        let positions: Vec<u64> = ranked["ranked"].as_array().unwrap().iter().map(|row| row["position"].as_u64().unwrap()).collect();
        let all = [1, 3, 4, 0, 2];
        assert_eq!(positions, all[..k.unwrap_or(5).min(5)], "{ranked}");
        assert_eq!(ranked["ranked"][0], json!({"item": "a", "position": 1, "score": 4.0 * 97.0 + 5.0 * 3.0}));
    }
}

#[tokio::test]
async fn a_support_set_is_adapted_to_and_named_by_its_key() {
    let server = Running::start(config());
    let body =
        json!({"patch": "films-tab2", "user": "u", "support": [{"item": "a", "label": 1}, {"item": "b", "label": false, "price": 2}]});
    let adapted = server.post("/v1/adapt", body.to_string()).await.json();
    assert_eq!(adapted["served"]["adapted"]["rows"], 2);
    let key = adapted["served"]["adapted"]["key"].as_str().unwrap();
    let reply = server.post("/v1/score", json!({"patch": "films-tab2", "items": ["a"], "adapted": key}).to_string()).await;
    assert_eq!(reply.json()["served"]["adapted"]["key"], key);
    let body = json!({"items": ["a"], "support": [{"item": "a", "label": -1.5, "price": 2}]});
    assert_eq!(server.post("/v1/score", body.to_string()).await.status, 200);
    let ask = server.films.last.lock().unwrap().clone().unwrap();
    let Some(SupportSet::Rows(rows)) = ask.support else { panic!("no rows") };
    assert_eq!((rows.len(), rows[0].label, &rows[0].given), (1, -1.5, &given(&[("item", text("a")), ("price", RawValue::Integer(2))])));
}

#[tokio::test]
async fn events_come_alone_in_a_list_and_in_lines() {
    let server = Running::start(config());
    let one = r#"{"id": "e1", "user": "u", "item": "i", "label": 1, "time": "2024-01-01T00:00:00Z"}"#;
    assert_eq!(server.post("/v1/events", one).await.json()["recorded"], 1);
    let list = r#"{"base": "films", "events": [{"id": "e1", "label": 1}, {"id": "e2", "label": 0.5, "tags": ["a"]}]}"#;
    let reply = server.post("/v1/events", list).await.json();
    assert_eq!((&reply["recorded"], &reply["state"]["event"]), (&json!(1), &json!("e2")));
    let lines = "{\"id\": \"e3\", \"label\": true}\n{\"id\": \"e4\", \"label\": 0}\n\n";
    assert_eq!(server.post("/v1/events?base=films", lines).await.json()["recorded"], 2);
    let events = server.films.events.lock().unwrap();
    let told: Vec<_> =
        events.iter().map(|(base, event)| (base.as_ref().map(|base| base.as_str()), event.id.as_str(), event.label)).collect();
    assert_eq!(told, [(None, "e1", 1.0), (Some("films"), "e2", 0.5), (Some("films"), "e3", 1.0), (Some("films"), "e4", 0.0)]);
    assert_eq!(events[0].1.time, Some(text("2024-01-01T00:00:00Z")));
    assert_eq!(events[0].1.given, given(&[("user", text("u")), ("item", text("i"))]));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let server = Running::start(config());
    let cases = [
        ("/v1/score", r#"{"items": ["a", 1, "b", {"genre": {"a": 1}}]}"#, "items[3].genre", "invalid type: map"),
        ("/v1/score", r#"{"items": ["a"], "usr": 1}"#, "usr", "did you mean `user`?"),
        ("/v1/score", r#"{"items": ["a"], "colour": 1}"#, "colour", "known are base, patch"),
        ("/v1/score", r#"{"items": ["a"], "k": 1}"#, "k", "unknown key `k`"),
        ("/v1/score", r#"{"items": ["a"], "user": 1, "user": 2}"#, "the body", "the key `user` is there twice"),
        ("/v1/score", r#"{"items": [{"item": 1, "item": 2}]}"#, "items[0]", "the key `item` is there twice"),
        ("/v1/score", r#"{"items": ["a"], "features": {"a": [[1]]}}"#, "features.a[0]", "inside a list"),
        ("/v1/score", r#"{"items": ["a"], "features": {"user": 1}}"#, "features.user", "a key of its own"),
        ("/v1/score", r#"{"items": []}"#, "items", "at least one item"),
        ("/v1/score", r#"{}"#, "items", "at least one item"),
        ("/v1/score", r#"[]"#, "the body", "an object with the keys"),
        ("/v1/score", r#"{"items": ["a"], "user": 18446744073709551615}"#, "user", "as text"),
        ("/v1/score", r#"{"items": ["a"], "user": 1e999}"#, "user", "number out of range"),
        ("/v1/score", r#"{"items": ["a"], "patch": "Films"}"#, "patch", "lower-case"),
        ("/v1/score", r#"{"items": ["a"], "domain": "a=1", "features": {"domain": "b=2"}}"#, "features.domain", "give it once"),
        ("/v1/score", r#"{"items": ["a"], "deadline_ms": -1}"#, "deadline_ms", "no time to answer in"),
        ("/v1/score", r#"{"items": ["a"], "adapted": "12"}"#, "adapted", "64 lower-case"),
        ("/v1/score", r#"{"items": ["a"], "support": [{"item": "a"}]}"#, "support[0]", "no `label`"),
        ("/v1/score", r#"{"items": ["a"], "support": [{"label": 1e200}]}"#, "support[0]", "too large"),
        ("/v1/score", r#"{"items": ["a"]} {}"#, "the body", "trailing characters"),
        ("/v1/rank", r#"{"items": ["a"], "k": 0}"#, "k", "no ranking"),
        ("/v1/adapt", r#"{"user": "u"}"#, "support", "there is none"),
        ("/v1/adapt", r#"{"user": "u", "support": []}"#, "support", "it is empty"),
        ("/v1/events", r#"{"label": 1}"#, "the body", "no `id`"),
        ("/v1/events", r#"{"events": [{"id": "a", "label": 1}, {"id": "b"}]}"#, "events[1]", "no `label`"),
        ("/v1/events", "{\"id\": \"a\", \"label\": 1}\n{\"id\": \"b\", \"label\": \"x\"}", "events[1].label", "line 2"),
        ("/v1/events", r#"{"events": [], "bas": "films"}"#, "the body", "did you mean `base`?"),
        ("/v1/events", r#"{"id": "", "label": 1}"#, "the body", "is no id"),
        ("/v1/events", "", "events", "there are none"),
    ];
    for (path, body, place, message) in cases {
        let (status, code, what, said) = server.post(path, body).await.error();
        assert_eq!((status, code.as_str(), what.as_str()), (400, "invalid", place), "{body}: {said}");
        assert!(said.contains(message), "{body}: {said}");
    }
    let (status, code, ..) = server.post("/v1/score", r#"{"items": ["a"], "patch": "else"}"#).await.error();
    assert_eq!((status, code.as_str()), (404, "unknown"));
}

#[tokio::test]
async fn the_description_is_of_exactly_the_routes_that_there_are() {
    let server = Running::start(config());
    let document = server.get("/openapi.json").await.json();
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        described.extend(methods.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase())));
    }
    let mut routes: Vec<(String, String)> = ROUTES
        .iter()
        .filter(|route| route.listener == Listener::Public)
        .map(|route| (route.path.to_owned(), route.method.to_owned()))
        .collect();
    described.sort();
    routes.sort();
    assert_eq!(described, routes);
    let page = server.get("/docs").await;
    assert!(page.headers["content-type"].starts_with("text/html"));
    assert!(routes.iter().all(|(path, _)| page.text().contains(path)));
}

#[tokio::test]
async fn the_examples_of_the_description_are_answered() {
    let server = Running::start(config());
    let document = server.get("/openapi.json").await.json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let example = &methods["post"]["requestBody"]["content"]["application/json"]["example"];
        if *example != Value::Null {
            let path = path.replace("{model}", "films").replace("{version}", "1");
            let reply = server.post(&path, example.to_string()).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            tried += 1;
        }
    }
    assert_eq!(tried, 6);
    // Every reference leads somewhere.
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(|target| target.as_str()).map(str::to_owned));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn counts_are_by_route_and_status() {
    let server = Running::start(config());
    server.post("/v1/score", r#"{"items": ["a"]}"#).await;
    server.post("/v1/score", r#"{"items": ["a"]}"#).await;
    server.post("/v1/score", "{").await;
    server.get("/nowhere").await;
    let text = server.get("/metrics").await.text();
    let counts: BTreeMap<&str, &str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    assert_eq!(counts["acclimate_http_requests_total{method=\"POST\",route=\"/v1/score\",status=\"200\"}"], "2");
    assert_eq!(counts["acclimate_http_requests_total{method=\"POST\",route=\"/v1/score\",status=\"400\"}"], "1");
    assert_eq!(counts["acclimate_http_requests_total{method=\"\",route=\"none\",status=\"404\"}"], "1");
    assert_eq!(counts["acclimate_http_seconds_count{method=\"POST\",route=\"/v1/score\"}"], "3");
    assert_eq!(counts["acclimate_http_body_bytes"], "0");
    assert_eq!(counts["films_tests"], "1");
}

#[tokio::test]
async fn one_connection_takes_many_requests() {
    let server = Running::start(config());
    let mut client = server.client().await;
    for price in 0..50 {
        let reply = client.post("/v1/score", &[], json!({"items": [{"price": price}]}).to_string().as_bytes()).await;
        assert_eq!(reply.scores(), [5.0 * price as f32]);
    }
    assert_eq!(client.get("/healthz").await.text(), "alive\n");
    assert_eq!(client.get("/v1/patches").await.json()["patches"][0]["name"], "films-tab2");
}

#[tokio::test]
async fn requests_in_work_are_finished_before_the_server_ends() {
    let server = Running::start(config());
    server.films.open.forget_permits(1 << 20);
    let (films, mut client) = (server.films.clone(), server.client().await);
    client.send(b"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-length: 16\r\n\r\n{\"items\": [\"a\"]}").await;
    films.begun.acquire().await.unwrap().forget();
    let mut idle = server.client().await;
    assert_eq!(idle.get("/readyz").await.status, 200);
    let ended = tokio::spawn(server.order_to_stop());
    // An idle connection is closed at once, the other one when its answer is there.
    assert!(idle.closed().await);
    films.open.add_permits(1);
    assert_eq!(client.reply().await.scores(), [4.0 * 97.0]);
    assert_eq!(ended.await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let mut config = config();
    config.finish_ms = 20;
    let server = Running::start(config);
    server.films.open.forget_permits(1 << 20);
    let (films, mut client) = (server.films.clone(), server.client().await);
    client.send(b"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-length: 16\r\n\r\n{\"items\": [\"a\"]}").await;
    films.begun.acquire().await.unwrap().forget();
    assert_eq!(server.order_to_stop().await.cut_off, 1);
    assert!(client.closed().await);
}

#[tokio::test]
async fn while_it_drains_it_answers_and_says_that_it_is_not_ready() {
    let mut config = config();
    config.drain_ms = 3_600_000;
    let server = Running::start(config);
    let mut client = server.client().await;
    assert_eq!(client.get("/readyz").await.status, 200);
    let address = server.address;
    let ending = tokio::spawn(server.order_to_stop());
    let reply = loop {
        let reply = client.get("/readyz").await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!((reply.status, reply.json()["reasons"][0].as_str().unwrap()), (503, "the server is shutting down"));
    let mut late = crate::common::Client::to(address).await;
    assert_eq!(late.post("/v1/score", &[], br#"{"items": [{"price": 2}]}"#).await.scores(), [10.0]);
    ending.abort();
}

#[test]
fn an_address_that_anybody_reaches_is_refused_without_keys() {
    let mut config = config();
    config.listen = vec!["0.0.0.0:0".parse().unwrap()];
    let error = Server::bind(config, Films::new()).unwrap_err();
    assert!(error.to_string().contains("there are no keys"), "{error}");
}
