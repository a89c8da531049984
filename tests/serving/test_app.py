"""The application: the shapes of its answers, and that they are the predictor's, to the bit."""

import base64
import io
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from made_data import noise
from pictorch.images import decode_image
from pictorch.predictor import Predictor
from pictorch.serving.app import create_app
from pictorch.serving.limits import Limits
from tiny_bundle import CLASSES, SIZE

PNG = {"Content-Type": "image/png"}


def picture(seed: int, kind: str = "PNG") -> bytes:
    """Returns a file of noise, never square."""
    buffer = io.BytesIO()
    Image.fromarray(noise(30 + seed, 20 + 3 * seed, seed)).save(buffer, kind)
    return buffer.getvalue()


def test_one_image_is_answered_alike_however_it_is_sent(client: TestClient, green: bytes) -> None:
    text = base64.b64encode(green).decode()
    answers = [
        client.post("/predict", files={"image": ("leaf.png", green)}),
        client.post("/predict", content=green, headers=PNG),
        client.post("/predict", content=green, headers={"Content-Type": "application/octet-stream"}),
        client.post("/predict", json={"image": text}),
        client.post("/predict", json={"image": f"data:image/png;base64,{text}"}),
        client.post("/predict?with_input=false", content=green, headers=PNG),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    first = answers[0].json()
    assert all(answer.json() == first for answer in answers)
    assert first.keys() == {"class", "class_id", "probability", "top"}
    assert (first["class"], first["class_id"]) == ("green", 1)
    assert first["top"][0] == {key: first[key] for key in ("class", "class_id", "probability")}
    assert [one["class"] for one in first["top"]] == ["green", "blue", "red"]


def test_several_images_are_answered_in_their_order(client: TestClient) -> None:
    pictures = [picture(seed) for seed in range(3)]
    form = client.post("/predict", files=[("image", ("x", one)) for one in pictures]).json()
    plural = client.post("/predict", files=[("images", ("x", one)) for one in pictures]).json()
    texts = [base64.b64encode(one).decode() for one in pictures]
    assert form == plural == client.post("/predict", json={"images": texts}).json()
    single = [client.post("/predict", content=one, headers=PNG).json() for one in pictures]
    assert form == {"predictions": single}
    alone = client.post("/predict", json={"images": texts[:1]}).json()
    assert alone == {"predictions": single[:1]}, "a list is answered by a list"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_answers_are_the_predictors_to_the_bit(client: TestClient, predictor: Predictor, kind: str) -> None:
    """Also where requests meet in one batch, and where a picture is too large to be decoded at once."""
    pictures = [picture(seed, kind) for seed in (*range(10), 70, 90)]
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda one: client.post("/predict", content=one, headers=PNG), pictures))
    for one, answer in zip(pictures, answers, strict=True):
        (expected,) = predictor([one])
        assert (
            tuple((each["class"], each["probability"]) for each in answer.json()["top"]) == expected.classes
        )


def test_top_and_the_picture_as_the_model_sees_it(client: TestClient) -> None:
    one = picture(3)
    answer = client.post("/predict?top=1&with_input=true", content=one, headers=PNG).json()
    assert len(answer["top"]) == 1
    head, _, text = answer["input"].partition(",")
    assert head == "data:image/png;base64"
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    assert np.array_equal(seen, decode_image(one, SIZE))
    several = client.post(
        "/predict?with_input=1", files=[("image", ("x", one)), ("image", ("y", one))]
    ).json()
    assert [each["input"] for each in several["predictions"]] == [answer["input"]] * 2


def test_model_says_what_is_allowed(predictor: Predictor) -> None:
    limits = Limits(max_body_bytes=1000, max_images=3)
    with TestClient(create_app(predictor, limits)) as client:
        model = client.get("/model").json()
    assert model["classes"] == list(CLASSES)
    assert (model["name"], model["image_size"], model["channels"], model["fit"]) == (
        "colors",
        SIZE,
        3,
        "crop",
    )
    assert model["metrics"] == {"test_openings": 0}
    assert re.fullmatch(r"[0-9a-f]{12}", model["version"])
    assert (model["limits"]["max_body_bytes"], model["limits"]["max_images"]) == (1000, 3)


def test_large_images_come_in_smaller_numbers() -> None:
    assert Limits().images_of(32) == 64
    assert Limits().images_of(512) == 15
    assert Limits().images_of(5000) == 1


def test_request_ids_are_taken_when_sane(client: TestClient, green: bytes) -> None:
    given = client.post("/predict", content=green, headers={**PNG, "X-Request-ID": "order-66.b"})
    assert given.headers["x-request-id"] == "order-66.b"
    for wrong in ("a b", "x" * 65, "x\u00e9"):
        made = client.post("/nowhere", headers={"X-Request-ID": wrong.encode()})
        assert made.headers["x-request-id"] == made.json()["error"]["request_id"] != wrong
    assert client.get("/model").headers["x-request-id"] != client.get("/model").headers["x-request-id"]


def test_the_log_has_one_line_a_request(
    client: TestClient, green: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pictorch.serving"):
        client.post("/predict?top=2", content=green, headers={**PNG, "X-Request-ID": "mine"})
        client.get("/no%0Awhere")
    first, second = [record.getMessage() for record in caplog.records if record.name == "pictorch.serving"]
    assert re.fullmatch(r"mine testclient POST /predict 200 [\d.]+ ms", first)
    assert r" GET /no\nwhere 404 " in second


def test_metrics_count_and_belong_to_one_app(predictor: Predictor, green: bytes) -> None:
    for _ in range(2):
        with TestClient(create_app(predictor)) as client:
            for _ in range(3):
                client.post("/predict", content=green, headers=PNG)
            client.post("/predict", content=b"text", headers=PNG)
            text = client.get("/metrics").text
        figures = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) ([\d.e+-]+)$", text, re.MULTILINE))
        assert float(figures['pictorch_requests_total{code="200"}']) == 3
        assert float(figures['pictorch_requests_total{code="422"}']) == 1
        assert float(figures["pictorch_requests_rejected_total"]) == 0
        assert float(figures["pictorch_requests_in_flight"]) == 0
        assert float(figures["pictorch_batch_images_sum"]) == 3
        for name in ("decode", "queue", "inference"):
            assert float(figures[f"pictorch_{name}_seconds_count"]) == 3
            assert float(figures[f"pictorch_{name}_seconds_sum"]) > 0
        assert 'name="colors"' in text


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    style = client.get("/static/page.css")
    assert style.status_code == 200
    assert style.headers["content-security-policy"] == policy
    for outside in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/nothing.js"):
        missing = client.get(outside)
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "not_found"


def test_a_name_that_is_no_address_is_made_one(tmp_path: Path) -> None:
    from tiny_bundle import make_bundle

    bundle = make_bundle(tmp_path / "odd", recipe={"name": "my net/2 {x} 鸟"})
    from pictorch import load

    with TestClient(create_app(load(bundle.path))) as client:
        model = client.get("/model").json()
        name = model["name"]
        assert client.get(f"/v2/models/{name}").json()["name"] == name == "my-net-2-x-"
        assert model["title"] == "my net/2 {x} 鸟", "which the page shows"
