"""Trainings by several processes under torchrun; one start does several, since importing takes longest."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# A job is {"recipe" or "resume", "out"}, and what one process, `rank`, does or has otherwise. What each has
# `seen` is its own; the result is told by the first. One that `seems_long` does so to train.kernels
# auto, which measures that own kernels are faster.
WORKER = """
import hashlib, json, os, signal, sys
from dataclasses import asdict
from pathlib import Path
import torch
from pictorch.errors import DataError, UserError
from pictorch.kernels import operator
from pictorch.training import convolution_times, convolutions, loop
from pictorch.training.console import Console
from pictorch.training.session import Session
from pictorch.training.start import train

rank = int(os.environ["RANK"])
real_step, real_finished, job, done, seen = loop.train_step, loop.is_finished, {}, 0, {}

def train_step(session, **options):
    global done
    done += 1
    mine = rank == job.get("rank", 1)
    if mine and done == job.get("term_at"):
        signal.raise_signal(signal.SIGTERM)
    if mine and done == job.get("fail_at"):
        raise DataError("the images are gone; put them back")
    if mine and done == job.get("kill_at") and not Path("killed").exists():
        Path("killed").touch()
        if job.get("host"):
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    seen["images"] = seen.get("images", 0) + session.batches.batch_size // session.group.world
    return real_step(session, **options)

def digest(tensors):
    every = hashlib.sha256()
    for tensor in tensors:
        every.update(torch.as_tensor(tensor).detach().contiguous().numpy().tobytes())
    return every.hexdigest()

def is_finished(session):
    states = session.optimizer.state_dict()["state"].values()
    seen.update(
        weights=digest(session.network.parameters()), judged=digest(session.judged_network.parameters()),
        optimizer=digest(value for state in states for value in state.values() if value is not None),
        scale=session.scaler.get_scale(), step=session.step, position=asdict(session.position),
        convolutions=session.runtime.convolutions.to_json(),
    )
    return real_finished(session)

loop.train_step, loop.is_finished = train_step, is_finished
environment, rates, answers = dict(os.environ), convolutions._LIBRARY_RATE, []
convolution_times.time_layer = lambda shape, dtype: {"own": 1.0, "library": 2.0}
convolution_times.time_steps = lambda network, images, forms, dtype: {
    form: 1.0 if form == "own" else 2.0 for form in forms
}
for job in json.loads(Path(sys.argv[1]).read_text()):
    done, seen = 0, {}
    options = {key: job[key] for key in ("recipe", "out", "resume") if key in job}
    if rank == job.get("rank", 1):
        options |= {key: job[key] for key in ("set", "data", "epochs") if key in job}
        options = {key: value for key, value in options.items() if key not in job.get("lacks", ())}
        os.environ.update(job.get("environment", {}))
    convolutions._LIBRARY_RATE = dict.fromkeys(rates, 1.0) if "seems_long" in job else rates
    operator.use(None)
    try:
        answer = {"result": train(**options, console=Console("quiet")).to_json()}
    except UserError as error:
        if "kill_at" in job:
            sys.exit(error.exit_code)  # so that torchrun starts it anew
        answer = {"error": type(error).__name__, "says": str(error), "exit_code": error.exit_code}
    os.environ.clear()
    os.environ.update(environment)
    answers.append(answer | {"seen": seen})
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps(answers))
"""


def train_in_group(
    jobs: list[dict[str, Any]], place: Path, *options: str, processes: int = 2
) -> list[list[dict[str, Any]]]:
    """Does the jobs one after the other in a group; returns for each job what each process answered."""
    (place / "worker.py").write_text(WORKER)
    (place / "jobs").write_text(json.dumps(jobs))
    code, _, errors = torchrun(["--nproc-per-node", str(processes), *options, "worker.py", "jobs"], place)
    assert code == 0, errors
    answers = [json.loads((place / f"jobs.{rank}").read_text()) for rank in range(processes)]
    return [list(of_job) for of_job in zip(*answers, strict=True)]


def torchrun(words: list[str], place: Path, seconds: float = 400) -> tuple[int, str, str]:
    """Runs torchrun and returns exit code, stdout and stderr; its processes end whatever happens."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            process.send_signal(signal.SIGTERM)  # which it hands on to its workers
            process.communicate(timeout=60)
            raise
    return process.returncode, output, errors
