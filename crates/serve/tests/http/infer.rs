//! The Open Inference Protocol, against bytes made by hand.

use acclimate_serve::api::{At, Choice};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::common::{Reply, Running, config, limited, name};

/// One length and the bytes, for each text.
fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()).collect()
}

async fn infer(server: &Running, model: &str, body: Value) -> Reply {
    server.post(&format!("/v2/models/{model}/infer"), body.to_string()).await
}

/// JSON with tensors as bytes behind it.
async fn binary(server: &Running, head: &Value, tensors: &[Vec<u8>]) -> Reply {
    let head = head.to_string();
    let body = [head.as_bytes(), &tensors.concat()].concat();
    let length = head.len().to_string();
    server.client().await.post("/v2/models/films/infer", &[("Inference-Header-Content-Length", &length)], &body).await
}

fn scores(reply: &Reply) -> Vec<f32> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_value(reply.json()["outputs"][0]["data"].clone()).unwrap()
}

#[tokio::test]
async fn columns_give_the_scores_of_the_same_rows() {
    let server = Running::start(config());
    let body = json!({"id": "42", "inputs": [
        {"name": "user", "shape": [3], "datatype": "BYTES", "data": ["u", "u", "u"]},
        {"name": "item", "shape": [3, 1], "datatype": "BYTES", "data": [["a"], ["b"], [""]]},
        {"name": "price", "shape": [3], "datatype": "FP32", "data": [1, 2.5, 3]},
        {"name": "genre", "shape": [3], "datatype": "BYTES", "data": ["[\"x\", 2]", "", "[]"]},
    ]});
    let reply = infer(&server, "films", body).await;
    let rows = json!({"user": "u", "items": [{"item": "a", "price": 1.0, "genre": ["x", 2]}, {"item": "b", "price": 2.5, "genre": null}, {"item": null, "price": 3.0, "genre": []}]});
    assert_eq!(scores(&reply), server.post("/v1/score", rows.to_string()).await.scores());
    let json = reply.json();
    assert_eq!((&json["id"], &json["model_name"], &json["model_version"]), (&json!("42"), &json!("films"), &json!("v000001")));
    assert_eq!((&json["outputs"][0]["datatype"], &json["outputs"][0]["shape"]), (&json!("FP32"), &json!([3])));
    assert_eq!((&json["parameters"]["base"], &json["parameters"]["kind"]), (&json!("films"), &json!("base")));
}

#[tokio::test]
async fn bytes_mean_the_same_as_json() {
    let server = Running::start(config());
    let input = |name: &str, shape: Value, datatype: &str, size: usize| json!({"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}});
    let head = json!({"parameters": {"binary_data_output": true, "patch": "films-tab2@v3", "timeout": 5000}, "inputs": [
        input("user", json!([2]), "INT32", 8),
        input("item", json!([2]), "BYTES", 4 + 1 + 4 + 2),
        input("price", json!([2, 1]), "FP64", 16),
        input("device", json!([2]), "BOOL", 2),
        input("genre", json!([2, 2]), "BYTES", 4 + 1 + 4 + 4 + 4 + 1),
        {"name": "time", "shape": [2], "datatype": "INT64", "data": [9, 9]},
    ]});
    let tensors = [
        [(-2_i32).to_le_bytes(), (-2_i32).to_le_bytes()].concat(),
        texts(&["a", "é"]),
        [0.5_f64.to_le_bytes(), f64::NAN.to_le_bytes()].concat(),
        vec![1, 1],
        texts(&["x", "", "", "y"]),
    ];
    let reply = binary(&server, &head, &tensors).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let length: usize = reply.headers["inference-header-content-length"].parse().unwrap();
    let json: Value = serde_json::from_slice(&reply.body[..length]).unwrap();
    let found: Vec<f32> = reply.body[length..].chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(json["outputs"], json!([{"name": "score", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}]));
    assert_eq!((&json["model_version"], &json["parameters"]["patch"]), (&json!("v000003"), &json!("films-tab2")));
    let rows = json!({"patch": "films-tab2@v3", "user": -2, "time": 9, "features": {"device": true}, "deadline_ms": 5,
        "items": [{"item": "a", "price": 0.5, "genre": ["x"]}, {"item": "é", "price": null, "genre": ["y"]}]});
    let infer_ask = server.films.last.lock().unwrap().take().unwrap();
    assert_eq!(found, server.post("/v1/score", rows.to_string()).await.scores());
    let native_ask = server.films.last.lock().unwrap().take().unwrap();
    assert_eq!(
        (infer_ask.shared, infer_ask.items, infer_ask.choice, infer_ask.deadline),
        (native_ask.shared, native_ask.items, native_ask.choice, native_ask.deadline)
    );
}

#[tokio::test]
async fn rows_that_share_their_columns_are_one_request_and_each_keeps_its_place() {
    let server = Running::start(config());
    let users = ["a", "b", "a", "c", "b", "a"];
    let patches = ["", "films-tab2", "", "", "films-tab2@v3", ""];
    let prices = [1, 2, 3, 4, 5, 6];
    let body = json!({"inputs": [
        {"name": "user", "shape": [6], "datatype": "BYTES", "data": users},
        {"name": "patch_id", "shape": [6], "datatype": "BYTES", "data": patches},
        {"name": "price", "shape": [6], "datatype": "INT32", "data": prices},
    ]});
    let reply = infer(&server, "films", body).await;
    let mut expected = Vec::new();
    for ((user, patch), price) in users.iter().zip(patches).zip(prices) {
        let mut row = json!({"user": user, "items": [{"price": price}]});
        if !patch.is_empty() {
            row["patch"] = json!(patch);
        }
        expected.extend(server.post("/v1/score", row.to_string()).await.scores());
    }
    assert_eq!(scores(&reply), expected);
    let by = ["", "films-tab2@v000002", "", "", "films-tab2@v000003", ""];
    assert_eq!(reply.json()["outputs"][1], json!({"name": "patch", "datatype": "BYTES", "shape": [6], "data": by}));
    // Four requests of it, and six more above: rows that agree went together.
    assert_eq!(server.films.begun.available_permits(), 4 + 6);
}

#[tokio::test]
async fn any_batch_gives_what_its_rows_give_one_by_one() {
    let server = Running::start(config());
    let mut random = ChaCha8Rng::seed_from_u64(12);
    for _ in 0..40 {
        let rows = random.random_range(1..30);
        let mut column =
            |values: &[Value]| -> Vec<Value> { (0..rows).map(|_| values[random.random_range(0..values.len())].clone()).collect() };
        let columns = [
            ("user", "BYTES", column(&[json!("u"), json!("v"), json!("")])),
            ("time", "INT64", column(&[json!(1), json!(2)])),
            ("patch_id", "BYTES", column(&[json!(""), json!("films-tab2"), json!("films-other@v9")])),
            ("item", "BYTES", column(&[json!("a"), json!("bc"), json!("")])),
            ("price", "FP64", column(&[json!(0.5), json!(-3), json!(7)])),
            ("genre", "BYTES", column(&[json!("[1]"), json!("[\"a\", 2]"), json!("")])),
        ];
        let tensors = |from: usize, to: usize| -> Value {
            let tensor = |(name, datatype, data): &(&str, &str, Vec<Value>)| json!({"name": name, "shape": [to - from], "datatype": datatype, "data": data[from..to]});
            json!({"inputs": columns.iter().map(tensor).collect::<Vec<_>>()})
        };
        let whole = infer(&server, "films", tensors(0, rows)).await;
        let mut one_by_one = (Vec::new(), Vec::new());
        for row in 0..rows {
            let reply = infer(&server, "films", tensors(row, row + 1)).await;
            one_by_one.0.extend(scores(&reply));
            one_by_one.1.push(reply.json()["outputs"][1]["data"][0].clone());
        }
        assert_eq!((scores(&whole), whole.json()["outputs"][1]["data"].clone()), (one_by_one.0, Value::from(one_by_one.1)));
    }
}

#[tokio::test]
async fn a_model_with_two_hyphens_is_a_patch() {
    let server = Running::start(config());
    let body = json!({"inputs": [{"name": "price", "shape": [1], "datatype": "FP32", "data": [2]}]});
    let champion = infer(&server, "films--films-tab2", body.clone()).await;
    assert_eq!(scores(&champion), [10.0 + 10_000.0]);
    assert_eq!(
        server.films.last.lock().unwrap().as_ref().unwrap().choice,
        Choice::Patch { name: name("films-tab2"), at: At::Alias(name("champion")) }
    );
    let version = infer(&server, "films--films-tab2/versions/3", body.clone()).await;
    assert_eq!(version.json()["model_version"], "v000003");
    for model in ["else", "films--else", "films--secret", "films--", "films/versions/2", "films--films-tab2/versions/x"] {
        assert_eq!(infer(&server, model, body.clone()).await.status, 404, "{model}");
    }
}

#[tokio::test]
async fn metadata_says_what_a_request_gives() {
    let server = Running::start(config());
    let metadata = server.get("/v2").await.json();
    assert!(metadata["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));
    let films = server.get("/v2/models/films").await.json();
    assert_eq!(films["versions"], json!(["v000001"]));
    assert_eq!(films["inputs"][0], json!({"name": "user", "datatype": "BYTES", "shape": [-1]}));
    assert_eq!(films["inputs"][1], json!({"name": "time", "datatype": "FP64", "shape": [-1]}));
    let patch = server.get("/v2/models/films--films-tab2/versions/2").await.json();
    assert_eq!(patch["versions"], json!(["v000002"]));
    assert_eq!(server.get("/v2/models/films--films-tab2/versions/7").await.status, 404);
    assert_eq!(server.get("/v2/models/films/ready").await.json(), json!({"name": "films", "ready": true}));
    assert_eq!(server.get("/v2/models/films/versions/1/ready").await.status, 200);
    assert_eq!(server.get("/v2/models/else/ready").await.status, 404);
    let index = server.post("/v2/repository/index", "").await.json();
    assert_eq!(index[1], json!({"name": "films--films-tab2", "version": "v000002", "state": "READY", "reason": ""}));
    assert_eq!(server.get("/v2/health/live").await.status, 200);
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_tensor_is_told_with_its_name() {
    let server = Running::start(limited(|limits| limits.groups = 2));
    let price = |shape: Value, datatype: &str, data: Value| json!({"inputs": [{"name": "price", "shape": shape, "datatype": datatype, "data": data}]});
    let one = || json!({"name": "price", "shape": [1], "datatype": "FP32", "data": [1]});
    let cases = [
        (json!({}), 400, "no `inputs`"),
        (json!({"inputs": []}), 400, "there are no rows"),
        (json!({"inputs": [one(), one()]}), 400, "it is there twice"),
        (json!({"inputs": [one()], "outputs": [{"name": "scores"}]}), 400, "did you mean `score`?"),
        (json!({"inputs": [one()], "parameters": {"pach": "a"}}), 400, "did you mean `patch`?"),
        (json!({"inputs": [one()], "parameters": {"sequence_id": 1}}), 400, "unknown key `sequence_id`"),
        (json!({"inputs": [one()], "parameters": {"timeout": -1}}), 400, "no time to answer in"),
        (json!({"inputs": [{"name": "prize", "shape": [1], "datatype": "FP32", "data": [1]}]}), 400, "did you mean `price`?"),
        (
            json!({"inputs": [one(), {"name": "item", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]}),
            400,
            "it has 2 rows, and `price` has 1",
        ),
        (json!({"inputs": [{"name": "price", "shape": [1], "datatype": "FP32"}]}), 400, "no `data`"),
        (
            json!({"inputs": [{"name": "price", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}),
            400,
            "it says 4 bytes, and 0 are left",
        ),
        (price(json!([2]), "FP32", json!([1])), 400, "it has 1 elements, and the shape says 2"),
        (price(json!([1, 1, 1]), "FP32", json!([1])), 400, "3 dimensions"),
        (price(json!([-1]), "FP32", json!([1])), 400, "inputs[0].shape[0]"),
        (price(json!([1, 2]), "FP32", json!([[1, 2]])), 400, "it has 2 values in a row"),
        (price(json!([2, 1]), "FP32", json!([[1], [2, 3]])), 400, "no list of 1"),
        (price(json!([99_999_999_999_u64]), "FP32", json!([1])), 413, "99999999999"),
        (price(json!([1]), "FP16", json!([1])), 400, "is no type that is read; use BOOL"),
        (price(json!([1]), "FP32", json!(["1"])), 400, "it is no FP32"),
        (price(json!([1]), "FP32", json!([1e300])), 400, "it is no FP32"),
        (price(json!([1]), "INT8", json!([200])), 400, "it is no INT8"),
        (price(json!([1]), "INT64", json!([1.5])), 400, "it is no INT64"),
        (json!({"inputs": [{"name": "user", "shape": [3], "datatype": "INT32", "data": [1, 2, 3]}]}), 413, "at most 2"),
        (json!({"inputs": [{"name": "genre", "shape": [1], "datatype": "BYTES", "data": ["[1"]}]}), 400, "no list in JSON"),
        (json!({"inputs": [one(), {"name": "patch_id", "shape": [1], "datatype": "BYTES", "data": ["A"]}]}), 400, "patch_id[0]"),
    ];
    for (body, status, message) in cases {
        let reply = infer(&server, "films", body.clone()).await;
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.status == status && said.contains(message), "{body}: {} {said}", reply.status);
    }
    let both = infer(&server, "films--films-tab2", json!({"inputs": [one()], "parameters": {"patch": "films-tab2"}})).await;
    assert!(both.json()["error"].as_str().unwrap().contains("name it in one place"));
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_header_are_refused() {
    let server = Running::start(config());
    let head = |datatype: &str, rows: usize, size: usize| json!({"inputs": [{"name": "price", "shape": [rows], "datatype": datatype, "parameters": {"binary_data_size": size}}]});
    let text = |rows: usize, size: usize| json!({"inputs": [{"name": "item", "shape": [rows], "datatype": "BYTES", "parameters": {"binary_data_size": size}}]});
    let cases = [
        (head("FP32", 2, 4), vec![0; 4], "4 bytes are no 2 elements of FP32"),
        (head("FP32", 1, 8), vec![0; 4], "it says 8 bytes, and 4 are left"),
        (head("FP32", 1, 4), vec![0; 8], "4 bytes follow its last tensor"),
        (head("INT64", 1, 9), vec![0; 9], "9 bytes are no 1 elements"),
        (head("BOOL", 1, 1), vec![2], "2 is no BOOL"),
        (head("UINT64", 1, 8), vec![255; 8], "is above"),
        (head("FP32", 1, 4), f32::INFINITY.to_le_bytes().to_vec(), "inf is no value"),
        (text(1, 3), vec![0; 3], "the bytes end before its length"),
        (text(1, 6), [5, 0, 0, 0, b'a', b'b'].to_vec(), "its length is above the bytes that are left"),
        (text(1, 4), [255; 4].to_vec(), "its length is above"),
        (text(1, 6), texts(&["a"]).into_iter().chain([0]).collect(), "1 bytes follow its 1 elements"),
        (text(1, 6), [2, 0, 0, 0, 0xc3, 0x28].to_vec(), "it is no UTF-8"),
    ];
    for (head, bytes, message) in cases {
        let reply = binary(&server, &head, &[bytes]).await;
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.status == 400 && said.contains(message), "{head}: {} {said}", reply.status);
    }
    for length in ["x", "-1", "99999999999999999999", "400"] {
        let reply = server.client().await.post("/v2/models/films/infer", &[("Inference-Header-Content-Length", length)], b"{}").await;
        assert_eq!(reply.status, 400, "{length}");
    }
}
