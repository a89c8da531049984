"""`pictorch serve` against the tutorial's service and LitServe: same images, clients, machine, in one run.

The tutorial's service is Flask with PyTorch in the handler (float32, N,C,H,W, one image a call; Resize(32),
CenterCrop(32), Normalize), started as its page does, by `app.run`. LitServe has the bundle's model.onnx in a
session of ONNX Runtime, alone and in batches; the better of the two counts. 32 clients send PNG files as
multipart, each the next when the last is answered. Rounds alternate, and only one server runs at a time:

    pip install --target PEERS flask litserve
    python benchmarks/serving_peers.py BUNDLE --peers PEERS [--rounds 3] [--seconds 8]
        [--note TEXT] [--out record.json]
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from pictorch.benchmarking.clients import Load, image_request, send
from pictorch.benchmarking.record import commit
from pictorch.benchmarking.serving import environment, golden_files
from pictorch.benchmarking.serving_rows import quantile
from pictorch.host import load_share
from pictorch.predictor import load

CONNECTIONS = 32
SERVICES = Path(__file__).with_name("peer_services.py")
SERVERS = {
    "pictorch": ["-m", "pictorch", "serve"],
    "tutorial": [str(SERVICES), "tutorial"],
    "litserve": [str(SERVICES), "litserve"],
    "litserve, batches": [str(SERVICES), "litserve-batches"],
}
GOALS = {"requests_per_second": 6.0, "p99": 0.25}  # against the tutorial's service


def main() -> None:
    """Measures every server in each round, and prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--peers", type=Path, help="folder with flask and litserve")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    before = round(load_share(), 2)
    requests = [image_request("/predict", file) for file in golden_files(load(args.bundle))]
    rows: list[dict[str, Any]] = []
    for number in range(args.rounds):
        for name in SERVERS:
            with running(name, args.bundle, args.peers) as port:
                send(port, requests, connections=CONNECTIONS, seconds=args.seconds / 4)
                rows.append(
                    row_of(name, number, send(port, requests, connections=CONNECTIONS, seconds=args.seconds))
                )
            print(json.dumps(rows[-1]), flush=True)
    summary = summary_of(rows)
    print(json.dumps(summary, indent=1))
    if args.out:
        record = {
            "question": "requests/s and latency of pictorch serve, the tutorial's Flask service and LitServe",
            "command": f"python benchmarks/serving_peers.py {args.bundle.name} --rounds {args.rounds} "
            f"--seconds {args.seconds:g}",
            "commit": commit(),
            "environment": {**environment(), "peers": versions(args.peers)},
            "n": args.rounds,
            "load_before": before,
            "note": args.note,
            "summary": summary,
            "values": rows,
        }
        args.out.write_text(json.dumps(record, indent=2) + "\n")


@contextmanager
def running(name: str, bundle: Path, peers: Path | None) -> Iterator[int]:
    """Runs a server on a free port until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, *SERVERS[name], str(bundle), "--port", str(port)]
    environment = dict(os.environ)
    if peers is not None and name != "pictorch":
        environment["PYTHONPATH"] = str(peers.resolve())
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{name} did not start; see why: {' '.join(command)}"
                time.sleep(0.1)
        time.sleep(2.0)  # a worker may still be loading
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def row_of(name: str, number: int, load: Load) -> dict[str, Any]:
    """Returns what a server did in a round."""
    return {
        "server": name,
        "round": number,
        "requests_per_second": round(load.per_second, 1),
        "p50_milliseconds": _milliseconds(load.answered, 0.5),
        "p99_milliseconds": _milliseconds(load.answered, 0.99),
        "answered": len(load.answered),
        "rejected": len(load.rejected),
        "failed": len(load.failures),
        "client_share": round(load.client_seconds / load.seconds, 3),
    }


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the medians over the rounds, and how ours stand to the others'."""
    kinds = ("requests_per_second", "p50_milliseconds", "p99_milliseconds")
    medians = {
        name: {kind: statistics.median(row[kind] for row in rows if row["server"] == name) for kind in kinds}
        for name in SERVERS
    }
    ours = medians["pictorch"]
    litserve = max(
        medians["litserve"]["requests_per_second"], medians["litserve, batches"]["requests_per_second"]
    )
    times = ours["requests_per_second"] / medians["tutorial"]["requests_per_second"]
    share = ours["p99_milliseconds"] / medians["tutorial"]["p99_milliseconds"]
    return {
        "medians": medians,
        "requests_per_second_by_tutorial": round(times, 2),
        "p99_by_tutorial": round(share, 3),
        "requests_per_second_by_litserve": round(ours["requests_per_second"] / litserve, 2),
        "reached": {
            "6 times the tutorial's requests/s": times >= GOALS["requests_per_second"],
            "a quarter of its p99": share <= GOALS["p99"],
            "not slower than LitServe": ours["requests_per_second"] >= litserve,
        },
    }


def versions(peers: Path | None) -> dict[str, str]:
    """Returns the versions of flask, litserve and torch, as the peers' processes find them."""
    paths = ([str(peers)] if peers else []) + sys.path
    found = {each.name.casefold(): each.version for each in reversed(list(distributions(path=paths)))}
    return {name: found[name] for name in ("flask", "werkzeug", "litserve", "torch") if name in found}


def _milliseconds(seconds: list[float], share: float) -> float:
    value = quantile(seconds, share)
    return float("nan") if value is None else round(1000 * value, 2)


if __name__ == "__main__":
    main()
