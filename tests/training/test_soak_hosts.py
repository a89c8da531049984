"""Two network namespaces stand for two hosts, of which one is lost in mid-epoch; `make soak` runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grouped_trainings import WORKER
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.start import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("PICTORCH_SOAK_HOSTS" not in os.environ, reason="soak: only `make soak` runs it"),
]
HOSTS = {f"ptr-{side}-{os.getpid()}": f"10.77.0.{number}" for number, side in enumerate("ab", 1)}
SECONDS = 240
RECIPE = {
    "name": "far",
    "data": {"source": "digits"},
    "model": {"name": "simple_net"},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"name": "constant"},
    "train": {"epochs": 8, "batch_size": 208, "precision": "float64", "threads": 1, "log_every_steps": 1},
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """The namespaces, joined by a cable; skips where none may be made."""
    try:
        for host in HOSTS:
            ip("netns", "add", host)
        first, second = HOSTS
        ip("link", "add", "ptr0", "netns", first, "type", "veth", "peer", "name", "ptr0", "netns", second)
        for host, address in HOSTS.items():
            ip("-n", host, "addr", "add", f"{address}/24", "dev", "ptr0")
            for link in ("ptr0", "lo"):
                ip("-n", host, "link", "set", link, "up")
        yield [first, second]
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespaces: this machine does not let them be made ({error})")
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)


def agent(host: str, place: Path, job_id: list[str]) -> subprocess.Popen[bytes]:
    """Starts torchrun on a host, in a session of its own."""
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d"]
    words += [*job_id, "--rdzv-endpoint", "10.77.0.1:29400", "--local-addr", HOSTS[host]]
    # torchrun knows its own address by the host's name, which both share here.
    words += ["--rdzv-conf", f"is_host={int(HOSTS[host] == '10.77.0.1')}"]
    command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run", *words]
    # Else a torchrun that takes another's place is not told where to meet (torch 2.14, docs/train.md).
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "ptr0", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return subprocess.Popen(
        [*command, "worker.py", "jobs"], cwd=place, env=environment, start_new_session=True
    )


@pytest.mark.parametrize(
    ("lost", "place", "job_id"),
    [
        ("worker", "out", ["--rdzv-id", "far"]),
        ("host", "out", ["--rdzv-id", "far"]),
        ("host", "resume", []),  # nothing names the run but the command
    ],
)
def test_the_training_goes_on_after_a_loss(
    hosts: list[str], lost: str, place: str, job_id: list[str], tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    job = {"recipe": RECIPE, place: "run", "kill_at": 32, "host": lost == "host"}
    (tmp_path / "jobs").write_text(json.dumps([job]))
    agents = [agent(host, tmp_path, job_id) for host in hosts]
    try:
        if lost == "host":
            assert agents[1].wait(SECONDS) == -signal.SIGKILL
            agents.append(agent(hosts[1], tmp_path, job_id))
        deadline = time.monotonic() + SECONDS
        codes = [one.wait(max(0.1, deadline - time.monotonic())) for one in agents]
    finally:
        for one in agents:
            if one.poll() is None:
                one.terminate()  # torchrun ends its workers
        for one in agents:
            try:
                one.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(one.pid, signal.SIGKILL)
                one.wait()
    assert codes == ([0, 0] if lost == "worker" else [0, -signal.SIGKILL, 0])
    assert (tmp_path / "killed").exists()
    answers = [json.loads((tmp_path / f"jobs.{rank}").read_text())[0] for rank in (0, 1)]
    # The fifth epoch is begun anew after 4 whole ones.
    assert [answer["seen"]["images"] for answer in answers] == [4 * 7 * 104] * 2
    one = RunFolder(Path(train(RECIPE, out=tmp_path / "one", console=Console("quiet")).run))
    losses = [
        [line["loss"] for line in run.metrics() if line["kind"] == "step"]
        for run in (RunFolder(tmp_path / "run"), one)
    ]
    assert len(losses[0]) == 56
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
