"""What /openapi.json promises holds for whatever schemathesis makes of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from served_process import in_thread

HERE = Path(__file__).parent


def test_examples_are_answered(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    predict = paths["/predict"]["post"]
    for example in predict["requestBody"]["content"]["application/json"]["examples"].values():
        assert client.post("/predict", json=example["value"]).status_code == 200
    assert predict["responses"].keys() == {"200", "400", "408", "413", "415", "422", "503"}
    assert "/v2/models/colors/infer" in paths
    assert all(operation["summary"] for path in paths.values() for operation in path.values())


@pytest.mark.slow
def test_schemathesis_finds_nothing(colors: Path, tmp_path: Path) -> None:
    """Each check that it has, on all operations; the seed is fixed so that a finding stays one."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    with in_thread(colors) as server:
        done = subprocess.run(
            [program, "--config-file", str(HERE / "schemathesis.toml"), "run", f"{server.url}/openapi.json",
             "--max-examples", "60", "--seed", "1", "--checks", "all", "--warnings", "off"],
            cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent), "SCHEMATHESIS_HOOKS": "schemathesis_images"},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout or "passed" in done.stdout
    assert "Tested: " in done.stdout
