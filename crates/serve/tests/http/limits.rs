//! Each row of `docs/serving-limits.md`, from outside.

use std::io::Write;

use acclimate_serve::http::{Limits, Server, ServerConfig};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::common::{Client, Films, Reply, Running, config, limited};

const BODY: &[u8] = br#"{"items": [{"price": 2}]}"#;

/// The status and the code of an answer in JSON.
fn told(reply: &Reply) -> (u16, String) {
    let (status, code, ..) = reply.error();
    (status, code)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A number of `/metrics`.
async fn gauge(server: &Running, name: &str) -> u64 {
    let text = server.get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn bytes_that_are_no_json_are_refused() {
    let server = Running::start(config());
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        br#"{"items": ["a"#,
        br#"{"items": [NaN]}"#,
        br#"{"items": [{"price": Infinity}]}"#,
        br#"{"items": [-Infinity]}"#,
        b"{\"items\": [\"\xff\"]}",
        b"\xff\xfe",
        br#"{"items": ["\ud800"]}"#,
    ];
    for body in bodies {
        for path in ["/v1/score", "/v1/rank", "/v1/adapt", "/v1/events", "/v2/models/films/infer"] {
            let reply = server.post(path, body).await;
            assert_eq!(reply.status, 400, "{path} {}", String::from_utf8_lossy(body));
            assert!(reply.text().contains("\"invalid\""));
        }
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let body = [br#"{"items": ["a"], "user": "#, &deep[..], b"}"].concat();
    assert_eq!(server.post("/v1/score", body).await.status, 400);
}

#[tokio::test]
async fn a_body_above_its_size_is_refused_however_it_comes() {
    let server = Running::start(config());
    let large = vec![b' '; 10 << 20];
    for path in ["/v1/score", "/v1/events", "/v2/models/films/infer"] {
        let reply = server.post(path, &large).await;
        assert_eq!((reply.status, reply.text().contains("too_large")), (413, true), "{path}");
        // In pieces, without a length.
        let mut client = server.client().await;
        client.send(format!("POST {path} HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes()).await;
        for piece in large.chunks(1 << 20) {
            client.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        client.send(b"0\r\n\r\n").await;
        assert_eq!(client.reply().await.status, 413, "{path}");
    }
    // Who asks before sending is told at once.
    let mut client = server.client().await;
    client.send(b"POST /v1/score HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert_eq!(told(&client.reply().await), refused(413, "too_large"));
}

#[tokio::test]
async fn lists_above_their_lengths_are_refused() {
    let server = Running::start(limited(|limits| {
        (limits.rows, limits.support_rows, limits.events, limits.columns, limits.list) = (3, 2, 2, 4, 2);
    }));
    let row = json!({"item": "a", "label": 1});
    let event = |id: u32| json!({"id": id.to_string(), "label": 1});
    let too_large = [
        ("/v1/score", json!({"items": ["a", "b", "c", "d"]}).to_string(), "items: 4, and at most 3 are taken"),
        ("/v1/rank", json!({"items": ["a", "b", "c", "d", "e"]}).to_string(), "items: 5, and at most 3"),
        ("/v1/score", json!({"items": ["a"], "support": [row, row, row]}).to_string(), "support: 3, and at most 2"),
        ("/v1/adapt", json!({"support": [row, row, row]}).to_string(), "support: 3, and at most 2"),
        ("/v1/events", json!({"events": [event(1), event(2), event(3)]}).to_string(), "events: 3, and at most 2"),
        ("/v1/events", [event(1), event(2), event(3), event(4)].map(|event| format!("{event}\n")).concat(), "events: 4, and at most 2"),
    ];
    for (path, body, message) in too_large {
        let (status, code, _, said) = server.post(path, body).await.error();
        assert!((status, code.as_str()) == (413, "too_large") && said.contains(message), "{said}");
    }
    let invalid = [json!({"items": [{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}]}), json!({"items": ["a"], "features": {"list": [1, 2, 3]}})];
    for body in invalid {
        assert_eq!(told(&server.post("/v1/score", body.to_string()).await), refused(400, "invalid"));
    }
}

#[tokio::test]
async fn a_head_above_its_size_is_refused() {
    let server = Running::start(config());
    let long = "a".repeat(100_000);
    for request in [
        format!("GET /healthz HTTP/1.1\r\nhost: t\r\nx: {long}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: t\r\n{}\r\n", "x: y\r\n".repeat(200)),
    ] {
        let mut client = server.client().await;
        // The server may close before it has read everything.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, request.as_bytes()).await;
        assert!(matches!(client.try_reply().await.map(|reply| reply.status), Some(431) | None));
        assert!(client.closed().await);
    }
    let mut client = server.client().await;
    client.send(b"\x16\x03\x01 no http\r\n\r\n").await;
    assert_eq!(client.try_reply().await.map(|reply| reply.status), Some(400));
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_closed() {
    let server = Running::start(limited(|limits| limits.head_ms = 100));
    let (mut silent, mut half) = (server.client().await, server.client().await);
    half.send(b"GET /healthz HTTP/1.1\r\nhos").await;
    assert!(silent.closed().await && half.closed().await);
    // Drop by drop is no faster.
    let mut slow = server.client().await;
    let sent = async {
        while tokio::io::AsyncWriteExt::write_all(&mut slow.0, b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    sent.await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_body_is_told_and_closed() {
    let server = Running::start(limited(|limits| limits.body_ms = 100));
    let mut client = server.client().await;
    client.send(b"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{\"items\"").await;
    let reply = client.reply().await;
    assert_eq!(told(&reply), refused(408, "slow_body"));
    assert_eq!(reply.headers["connection"], "close");
    assert!(client.closed().await);
    assert_eq!(gauge(&server, "acclimate_http_body_bytes").await, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_closed() {
    let server = Running::start(limited(|limits| limits.write_ms = 100));
    let mut client = server.client().await;
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n".repeat(2_000);
    // The server stops reading where it can not write, so that not all of them may go out.
    let sending = tokio::spawn(async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, &requests).await;
        client
    });
    let _client = sending.await.unwrap();
    while gauge(&server, "acclimate_http_connections").await > 1 {}
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing_behind() {
    let server = Running::start(config());
    let mut client = server.client().await;
    client.send(b"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{\"items\"").await;
    while gauge(&server, "acclimate_http_body_bytes").await == 0 {}
    drop(client);
    while gauge(&server, "acclimate_http_body_bytes").await > 0 {}
    while gauge(&server, "acclimate_http_connections").await > 1 {}
}

#[tokio::test]
async fn a_wrong_method_or_path_is_told() {
    let server = Running::start(config());
    for (method, path, allow) in [("GET", "/v1/score", "POST"), ("DELETE", "/v1/patches", "GET"), ("PUT", "/v2/models/films/infer", "POST")]
    {
        let reply = server.client().await.request(method, path, &[], b"").await;
        assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, allow), "{path}");
    }
    for path in ["/", "/v1", "/v1/score/", "/v1/Score", "/v2/models", "/v1/%2e%2e/score", "/v2/models/%ff", "/%00"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    let infer = json!({"inputs": [{"name": "price", "shape": [1], "datatype": "FP32", "data": [1]}]}).to_string();
    for path in ["/v2/models//infer", "/v2/models/%2e%2e/infer", "/v2/models/films%2fx/infer"] {
        assert_eq!(server.post(path, &infer).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn requests_above_those_in_work_are_refused_at_once() {
    let server = Running::start(limited(|limits| limits.in_flight = 1));
    server.films.open.forget_permits(1 << 20);
    let mut first = server.client().await;
    first.send(&[b"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-length: 25\r\n\r\n", BODY].concat()).await;
    server.films.begun.acquire().await.unwrap().forget();
    assert_eq!(gauge(&server, "acclimate_http_in_flight").await, 1);
    let second = server.post("/v1/score", BODY).await;
    assert_eq!(told(&second), refused(429, "busy"));
    assert_eq!(second.headers["retry-after"], "1");
    // What asks for no work is answered.
    assert_eq!(server.get("/readyz").await.status, 200);
    server.films.open.add_permits(2);
    assert_eq!(first.reply().await.scores(), [10.0]);
    assert_eq!(server.post("/v1/score", BODY).await.scores(), [10.0]);
}

#[tokio::test]
async fn a_fault_of_the_service_ends_its_request_only() {
    let server = Running::start(config());
    let mut client = server.client().await;
    let fault = br#"{"items": ["a"], "features": {"fault": 1}}"#;
    assert_eq!(told(&client.post("/v1/score", &[], fault).await), refused(500, "failed"));
    let tensors = json!({"inputs": [{"name": "price", "shape": [1], "datatype": "FP32", "data": [1]}]}).to_string();
    assert_eq!(client.post("/v2/models/films/infer", &[], tensors.as_bytes()).await.status, 200);
    assert_eq!(client.post("/v1/score", &[], BODY).await.scores(), [10.0]);
    assert_eq!(gauge(&server, "acclimate_http_in_flight").await, 0);
}

#[tokio::test]
async fn bodies_have_one_budget_together() {
    let server = Running::start(limited(|limits| (limits.body_bytes, limits.events_bytes, limits.bodies_bytes) = (1_000, 1_000, 1_000)));
    let mut holder = server.client().await;
    holder.send(&[&b"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-length: 700\r\n\r\n"[..], &[b' '; 600]].concat()).await;
    while gauge(&server, "acclimate_http_body_bytes").await != 600 {}
    let padded = [BODY, &[b' '; 475]].concat();
    assert_eq!(told(&server.post("/v1/score", &padded).await), refused(429, "busy"));
    assert_eq!(server.post("/v1/score", BODY).await.scores(), [10.0]);
    holder.send(&[BODY, &[b' '; 75]].concat()).await;
    assert_eq!(holder.reply().await.scores(), [10.0]);
    assert_eq!(server.post("/v1/score", &padded).await.scores(), [10.0]);
}

/// Ten thousand where the system lets this process have as many files: each connection takes two, since client and server are one process here.
fn many() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let files: usize = line.split_whitespace().nth(3).and_then(|files| files.parse().ok()).unwrap_or(1_024);
    (files.saturating_sub(300) / 2).min(10_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_held_up_to_their_number_and_no_further() {
    let many = many();
    assert!(many >= 100, "this test needs some hundred open files");
    let server = Running::start(limited(|limits| {
        limits.connections = many;
        limits.head_ms = 600_000;
    }));
    let mut idle = Vec::with_capacity(many);
    for _ in 0..many {
        idle.push(server.client().await);
    }
    // The oldest is answered between all of them, and by then all have been taken.
    assert_eq!(idle[0].post("/v1/score", &[], BODY).await.scores(), [10.0]);
    assert_eq!(idle[many - 1].post("/v1/score", &[], BODY).await.scores(), [10.0]);
    let mut further = server.client().await;
    let reply = further.reply().await;
    assert_eq!(told(&reply), refused(503, "unavailable"));
    assert!(further.closed().await);
    idle.truncate(many - 1);
    // The place of the one that has gone is taken by another.
    loop {
        let mut next = server.client().await;
        let sent = tokio::io::AsyncWriteExt::write_all(&mut next.0, b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").await;
        if sent.is_ok() && next.try_reply().await.is_some_and(|reply| reply.status == 200) {
            break;
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn compressed_bodies_are_read_and_bombs_are_not() {
    let server = Running::start(config());
    let post = async |coding: &str, body: &[u8]| server.client().await.post("/v1/score", &[("Content-Encoding", coding)], body).await;
    assert_eq!(post("gzip", &gzip(BODY)).await.scores(), [10.0]);
    assert_eq!(post("Deflate", &deflate(BODY)).await.scores(), [10.0]);
    assert_eq!(post("identity", BODY).await.scores(), [10.0]);
    // 100 MB of nothing is above the size, 200 kB of it above what may come of so few bytes.
    for (zeros, limit) in [(100_000_000, 1 << 20), (200_000, 64 << 10)] {
        let blank = vec![b' '; zeros];
        for (coding, body) in [("gzip", gzip(&blank)), ("deflate", deflate(&blank))] {
            let (status, code, _, said) = post(coding, &body).await.error();
            assert!((status, code.as_str()) == (413, "too_large") && said.contains(&limit.to_string()), "{coding}: {said}");
        }
    }
    let padded = [BODY, &[b' '; 60_000]].concat();
    assert_eq!(post("gzip", &gzip(&padded)).await.scores(), [10.0]);
    let whole = gzip(BODY);
    for body in [&whole[..whole.len() - 3], &[&whole[..], b"x"].concat(), b"no gzip", b""] {
        assert_eq!(told(&post("gzip", body).await), refused(400, "invalid"));
    }
    for coding in ["br", "zstd", "gzip, gzip", "x"] {
        assert_eq!(told(&post(coding, BODY).await), refused(415, "coding"), "{coding}");
    }
    assert_eq!(gauge(&server, "acclimate_http_body_bytes").await, 0);
}

#[test]
fn settings_under_which_nothing_would_be_answered_are_refused() {
    let changes: [fn(&mut Limits); 7] = [
        |limits| limits.connections = 0,
        |limits| limits.in_flight = 0,
        |limits| limits.rows = 0,
        |limits| limits.head_ms = 0,
        |limits| limits.head_bytes = 100,
        |limits| limits.bodies_bytes = 1_000,
        |limits| limits.list = usize::MAX,
    ];
    for change in changes {
        let error = Server::bind(limited(change), Films::new()).unwrap_err().to_string();
        assert!(error.starts_with("limits."), "{error}");
    }
    let nowhere = ServerConfig { listen: Vec::new(), ..config() };
    assert!(Server::bind(nowhere, Films::new()).unwrap_err().to_string().contains("no address"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let server = Running::start(config());
    let error = Server::bind(ServerConfig { listen: vec![server.address], ..config() }, Films::new()).unwrap_err().to_string();
    assert!(error.contains("choose another port"), "{error}");
    assert_eq!(Client::to(server.address).await.get("/healthz").await.status, 200);
}
