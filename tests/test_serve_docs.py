"""What docs/serve.md says to type and what deploy/ holds: carried out against a real server."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pictorch.benchmarking.served import Served, served
from tiny_bundle import color_image, make_bundle

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/serve.md").read_text()
UNIT = (ROOT / "deploy/pictorch.service").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```(?:\n\n```json\n(.*?)^```)?", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    with served(make_bundle(place / "bundle").path, place / "log", 64) as running:
        yield running


def shape(value: Any) -> Any:
    """Returns the names and kinds of a JSON value, with one example of each list."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


def test_the_page_has_lines_of_every_client() -> None:
    assert len(BLOCKS) >= 6
    for client in ("curl -F", "--data-binary", "base64", "requests.Session", "urlopen", "tritonclient.http"):
        assert any(client in text for _, text, _ in BLOCKS), client


@pytest.mark.slow
@pytest.mark.parametrize(("language", "text", "answer"), BLOCKS, ids=range(len(BLOCKS)))
def test_lines_of_the_page_work(
    language: str, text: str, answer: str, server: Served, tmp_path: Path
) -> None:
    for name in ("cat", "dog"):
        Image.fromarray(color_image("green", 30, 40)).save(f"{name}.png")
    make_bundle(Path("model.zip"))
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    fails_at_once = "set -euo pipefail\nalias curl='curl --fail-with-body --silent --show-error'\n"
    bash = ["bash", "-O", "expand_aliases", "-c", fails_at_once + text]
    command = bash if language == "sh" else [sys.executable, "-W", "error", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    if answer:
        answers = done.stdout.replace("}{", "}\n{").splitlines()
        assert [shape(json.loads(one)) for one in answers] == [shape(json.loads(answer))] * len(answers)


def test_the_container_holds_no_root_and_no_torch() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert "'.[serve]'" in text
    copied = re.search(r"^COPY (pyproject.*) \./$", text, re.MULTILINE)
    assert copied
    assert all((ROOT / name).is_file() for name in copied[1].split())
    allowed = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in [*copied[1].split(), "src"]} <= set(allowed)


def test_the_proxies_allow_bodies_as_large_as_the_server_does() -> None:
    from pictorch.serving.limits import Limits

    most = Limits().max_body_bytes
    assert f"client_max_body_size {most};" in (ROOT / "deploy/nginx.conf").read_text()
    assert f"max_size {most // 10**6}MB" in (ROOT / "deploy/Caddyfile").read_text()


@pytest.mark.parametrize("file", ["Dockerfile", "pictorch.service", "nginx.conf", "Caddyfile"])
def test_the_page_names_what_deploy_holds(file: str) -> None:
    assert f"](../deploy/{file})" in PAGE
    assert (ROOT / "deploy" / file).is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("pictorch"))
    (tmp_path / "pictorch.service").write_text(UNIT.replace("/opt/pictorch/bin/pictorch", program))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "pictorch.service")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_starts_no_refused_bundle_again() -> None:
    from pictorch.errors import CheckpointError, MissingPartError, RecipeError

    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", UNIT, re.MULTILINE)
    assert {*map(int, codes.split())} == {
        kind.exit_code for kind in (RecipeError, CheckpointError, MissingPartError)
    }
