"""The Open Inference Protocol v2: JSON and binary tensors give the predictor's probabilities to the bit."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from pictorch.predictor import Predictor
from pictorch.serving.limits import Limits
from served_process import in_process
from tiny_bundle import SIZE

INFER = "/v2/models/colors/infer"
IMAGES = np.random.default_rng(5).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def asked(images: NDArray[np.uint8] = IMAGES, **changes: object) -> dict[str, object]:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.tolist()}
    return {"inputs": [{**tensor, **changes}]}


def binary(images: NDArray[np.uint8] = IMAGES, **more: object) -> tuple[bytes, dict[str, str]]:
    """Returns body and headers of a binary request."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    tensor["parameters"] = {"binary_data_size": images.nbytes}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + images.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def test_metadata_and_health(client: TestClient) -> None:
    model = client.get("/v2/models/colors").json()
    assert model["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]}]
    assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}]
    (version,) = model["versions"]
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/colors/versions/{version}/ready"):
        assert client.get(path).status_code == 200
    client.app.state.service.traffic.draining = True  # type: ignore[attr-defined]
    ready = client.get("/v2/health/ready")
    assert ready.status_code == 503
    assert ready.headers["connection"] == "close"
    assert client.get("/v2/models/colors/ready").status_code == 503
    assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("flat", [False, True])
def test_json(client: TestClient, predictor: Predictor, flat: bool) -> None:
    body = asked(data=IMAGES.ravel().tolist()) if flat else asked()
    answer = client.post(INFER, json={**body, "id": "7"}).json()
    (output,) = answer["outputs"]
    assert answer["id"] == "7"
    assert answer["model_name"] == "colors"
    assert output["shape"] == [3, 3]
    assert np.array_equal(np.float32(output["data"]).reshape(3, 3), predictor.probabilities(IMAGES))


WANTED = {"name": "probabilities", "parameters": {"binary_data": True}}


@pytest.mark.parametrize("more", [{"parameters": {"binary_data_output": True}}, {"outputs": [WANTED]}])
def test_binary(client: TestClient, predictor: Predictor, more: dict[str, object]) -> None:
    body, headers = binary(**more)
    answer = client.post(INFER, content=body, headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    record = json.loads(answer.content[:length])
    assert record["outputs"][0]["parameters"] == {"binary_data_size": 36}
    rows = np.frombuffer(answer.content[length:], "<f4").reshape(3, 3)
    assert np.array_equal(rows, predictor.probabilities(IMAGES))
    body, headers = binary()
    assert "data" in client.post(INFER, content=body, headers=headers).json()["outputs"][0]


WRONG = {
    "no JSON": (b"{", {}),
    "another input": (json.dumps(asked(name="input")).encode(), {}),
    "floats": (json.dumps(asked(data=[0.5] * 576)).encode(), {}),
    "too bright": (json.dumps(asked(data=[256] * 576)).encode(), {}),
    "ragged": (json.dumps(asked(data=[[1, 2], [3]])).encode(), {}),
    "huge numbers": (json.dumps(asked(data=[10**30] * 576)).encode(), {}),
    "too few": (json.dumps(asked(data=[1] * 575)).encode(), {}),
    "nothing": (json.dumps(asked(data=[])).encode(), {}),
    "another type": (json.dumps(asked(datatype="FP32")).encode(), {}),
    "another size": (json.dumps(asked(shape=[3, 9, 9, 3])).encode(), {}),
    "less than no image": (json.dumps(asked(shape=[-3, SIZE, SIZE, 3])).encode(), {}),
    "another output": (json.dumps({**asked(), "outputs": [{"name": "logits"}]}).encode(), {}),
    "classification": (json.dumps(asked(parameters={"classification": 3})).encode(), {}),
    "a length beyond the body": (binary()[0], {"Inference-Header-Content-Length": "99999"}),
    "a length that is none": (binary()[0], {"Inference-Header-Content-Length": "-1"}),
    "bytes that are cut off": (binary()[0][:-1], binary()[1]),
    "bytes and data": (json.dumps(asked()).encode() + b"x",
                       {"Inference-Header-Content-Length": str(len(json.dumps(asked()).encode()))}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_as_the_protocol_wants(client: TestClient, name: str) -> None:
    body, headers = WRONG[name]
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert "; " in answer.json()["error"]


def test_too_many_images_and_another_model(client: TestClient) -> None:
    many = np.zeros((Limits().max_images + 1, SIZE, SIZE, 3), np.uint8)
    body, headers = binary(many)
    assert client.post(INFER, content=body, headers=headers).status_code == 413
    assert isinstance(client.post("/v2/models/other/infer", json=asked()).json()["error"], str)


@pytest.mark.slow
def test_tritons_client_works_unchanged(colors: Path, predictor: Predictor, tmp_path: Path) -> None:
    triton = pytest.importorskip("tritonclient.http")
    with in_process(colors, tmp_path / "log") as running:
        with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("colors")
            assert not client.is_model_ready("cats")
            assert client.get_server_metadata()["name"] == "pictorch"
            assert client.get_model_metadata("colors")["inputs"][0]["name"] == "images"
            for as_bytes in (True, False):
                tensor = triton.InferInput("images", list(IMAGES.shape), "UINT8")
                tensor.set_data_from_numpy(IMAGES, binary_data=as_bytes)
                wanted = triton.InferRequestedOutput("probabilities", binary_data=as_bytes)
                for outputs in ([wanted], None):
                    answer = client.infer("colors", [tensor], outputs=outputs, request_id="9")
                    found = answer.as_numpy("probabilities")
                    assert np.array_equal(found, predictor.probabilities(IMAGES))
            tensor = triton.InferInput("images", [1, 9, 9, 3], "UINT8")
            tensor.set_data_from_numpy(np.zeros((1, 9, 9, 3), np.uint8))
            with pytest.raises(triton.InferenceServerException, match="has the shape"):
                client.infer("colors", [tensor])
        assert running.stop() == 0
