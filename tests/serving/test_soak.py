"""What a server keeps after many requests, good and bad: nothing."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from pictorch.benchmarking.clients import image_request, send
from served_process import in_process

REQUESTS = int(os.environ.get("PICTORCH_SOAK_REQUESTS", "5000"))
WARM_UP = 2_000
MOST_BYTES = 1e6


@pytest.mark.slow
def test_memory_does_not_grow(colors: Path, green: bytes, tmp_path: Path) -> None:
    large = io.BytesIO()
    Image.new("RGB", (300, 200)).save(large, "JPEG")
    requests = [
        image_request("/predict", green),
        image_request("/predict?with_input=true", green),
        image_request("/predict", large.getvalue()),
        image_request("/predict", b"no image"),
    ]
    with in_process(colors, tmp_path / "log") as running:
        send(running.port, requests, connections=8, most=WARM_UP)
        before = running.memory_bytes()
        load = send(running.port, requests, connections=8, most=REQUESTS)
        assert (len(load.answered), load.failures) == (REQUESTS * 3 // 4, [422] * (REQUESTS // 4))
        assert running.memory_bytes() - before < MOST_BYTES
        assert running.stop() == 0
