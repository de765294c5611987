//! The client that most of those who speak the Open Inference Protocol use: `tritonclient`, from the Python that ACCLIMATE_TRITON_PYTHON names.

use std::io::Write;

use crate::common::{Running, config};

const PROGRAM: &str = r#"
import sys, numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

client = http.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("films")
assert not client.is_model_ready("else")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert [i["name"] for i in client.get_model_metadata("films")["inputs"]][0] == "user"
assert {m["name"] for m in client.get_model_repository_index()} == {"films", "films--films-tab2"}

def tensor(name, array, kind, binary):
    t = http.InferInput(name, list(array.shape), kind)
    t.set_data_from_numpy(array, binary_data=binary)
    return t

price = np.array([1.0, 2.5, -3.0], dtype=np.float32)
items = np.array(["a", "bé", ""], dtype=np.object_)
expected = [5 * p + 4 * sum(s.encode()) for p, s in zip(price, items)]
patch = 1000 * len("films-tab2")
for binary_in in (True, False):
    for binary_out in (True, False):
        for compression in (None, "gzip", "deflate"):
            inputs = [tensor("price", price, "FP32", binary_in), tensor("item", items, "BYTES", binary_in)]
            outputs = [http.InferRequestedOutput("score", binary_data=binary_out)]
            answer = client.infer("films", inputs, outputs=outputs, request_id="7", request_compression_algorithm=compression)
            np.testing.assert_array_equal(answer.as_numpy("score"), np.array(expected, dtype=np.float32))
            assert answer.get_response()["id"] == "7"
            answer = client.infer("films", inputs, parameters={"patch": "films-tab2@v3"}, timeout=1000000)
            np.testing.assert_array_equal(answer.as_numpy("score"), np.array(expected, dtype=np.float32) + patch)
            assert answer.get_response()["model_version"] == "v000003"
mixed = [tensor("price", price, "FP32", True), tensor("patch_id", np.array(["", "films-tab2", ""], dtype=np.object_), "BYTES", True)]
answer = client.infer("films", mixed)
np.testing.assert_array_equal(answer.as_numpy("score"), 5 * price + np.array([0, patch, 0], dtype=np.float32))
assert list(answer.as_numpy("patch")) == [b"", b"films-tab2@v000002", b""]
answer = client.infer("films--films-tab2", [tensor("price", price, "FP32", True)])
np.testing.assert_array_equal(answer.as_numpy("score"), 5 * price + patch)
try:
    client.infer("films", [tensor("prize", price, "FP32", True)])
except InferenceServerException as error:
    assert "did you mean `price`?" in error.message() and "400" in error.status(), (error.status(), error.message())
else:
    raise AssertionError("a wrong name was taken")
print("fine")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_triton_is_answered() {
    let Some(python) = std::env::var_os("ACCLIMATE_TRITON_PYTHON") else {
        std::io::stderr().write_all(b"the_client_of_triton_is_answered: skipped, ACCLIMATE_TRITON_PYTHON is not set\n").unwrap();
        return;
    };
    let server = Running::start(config());
    let address = server.address.to_string();
    let output = tokio::task::spawn_blocking(move || std::process::Command::new(python).args(["-c", PROGRAM, &address]).output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"fine\n"), "{}", String::from_utf8_lossy(&output.stderr));
}
