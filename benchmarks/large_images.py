"""What training from a memory map of 256-pixel images keeps of the speed of a network fed from memory.

Writes JPEGs of 256 x 256 pixels (few of them, under many names that are hard links) and a list of
them into a temporary folder, lets them be decoded into a store there, and measures for each network,
in turn, in one process:

- the training loop on images that lie in the store's map. Before each round all of the store's pages
  leave the memory, so that every image comes from the disk, as the worst of a store far larger than
  memory would; the bytes that the process read from the disk stand beside it;
- the same network and optimiser on one batch that stays in memory.

    python benchmarks/large_images.py [--images 20000] [--rounds 7] [--out record.json]
"""

import argparse
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from resident_batch import bare_step, commit, loop_steps

from pictorch.datasets import load_splits
from pictorch.recipe.files import load_recipe
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.environment import describe_environment
from pictorch.training.runtime import resolve_runtime
from pictorch.training.schedules import Segment
from pictorch.training.session import build_session
from pictorch.training.tracker import Tracker

SIDE, CLASSES, DISTINCT = 256, 10, 200
# Network, images in a batch, steps in a round: so many that a round takes seconds.
NETWORKS = (("simple_net", 64, 12), ("torchvision:resnet18", 32, 4))


def write_list(folder: Path, count: int) -> Path:
    """Writes JPEGs of coloured noise and a list of them, `count` lines of path and label."""
    random = np.random.default_rng(0)
    for number in range(DISTINCT):
        small = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:06d}.jpg", quality=90)
    for number in range(DISTINCT, count):
        os.link(folder / f"{number % DISTINCT:06d}.jpg", folder / f"{number:06d}.jpg")
    path = folder / "list.txt"
    path.write_text("".join(f"{number:06d}.jpg {number % CLASSES}\n" for number in range(count)))
    return path


def recipe_of(network: str, batch_size: int, source: Path) -> Any:
    """Returns a recipe with a flip, which every training of photographs has, and nothing else."""
    return load_recipe(
        {
            "name": "large-images",
            "data": {"source": str(source), "image_size": SIDE, "val_fraction": 0.0, "test_fraction": 0.0},
            "augment": {"flip": "random"},
            "model": {"name": network},
            "optimizer": {"lr": 0.001},
            "train": {"epochs": 1, "batch_size": batch_size},
        }
    )


def forget(images: Any, store: Path) -> None:
    """Lets all pages of a mapped store leave the memory: out of the map first, then out of the page cache."""
    base: Any = images
    while isinstance(base, np.ndarray):
        base = base.base
    base.obj.madvise(mmap.MADV_DONTNEED)
    with store.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_bytes() -> int:
    """Returns the bytes that this process has caused to be read from the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def clocks() -> Any:
    """Returns seconds that have passed, and seconds that this process has computed, float64 (2,)."""
    return np.array([time.perf_counter(), time.process_time()])


def compare(network: str, batch_size: int, steps: int, rounds: int, source: Path) -> dict[str, Any]:
    """Returns both speeds of every round and their ratios for one network."""
    recipe = recipe_of(network, batch_size, source)
    runtime = resolve_runtime(recipe.train)
    pairs = []
    with runtime.applied(), tempfile.TemporaryDirectory() as folder:
        splits = load_splits(recipe.data)
        store = next(source.parent.glob("cache/pictorch/stores/*/images.npy"))
        session = build_session(recipe, splits, runtime, [Segment(0, 1, 1.0)])
        resident = session.batches.batch(0, 0)
        tracked = Tracker(RunFolder(Path(folder)), session, Console("quiet"))
        with session.batches.prefetched(), tracked as tracker:
            works = {
                "loop": lambda: loop_steps(session, tracker, 1),
                "bare": lambda: bare_step(session, *resident),
            }
            for work in works.values():
                work()
            for _ in range(rounds):
                forget(splits.train.images, store)
                disk = read_bytes()
                spent = {name: np.zeros(2) for name in works}
                for _ in range(steps):
                    for name, work in works.items():
                        began = clocks()
                        work()
                        spent[name] += clocks() - began
                disk = read_bytes() - disk
                images = steps * batch_size
                pair = {name: images / spent[name][0] for name in works}
                pair |= {f"{name}_cpu_seconds": spent[name][1] for name in works}
                pair |= {"ratio": pair["loop"] / pair["bare"], "disk_bytes": disk}
                pairs.append(pair)
                print(
                    f"{network:22} loop {pair['loop']:7.1f}  bare {pair['bare']:7.1f} images/s  "
                    f"ratio {pair['ratio']:.3f}  CPU time {spent['loop'][1] / spent['bare'][1]:.3f} times  "
                    f"from the disk {disk / images / (3 * SIDE**2):.2f} of the pixels",
                    flush=True,
                )
    ratios = [pair["ratio"] for pair in pairs]
    return {
        "network": network,
        "batch_size": batch_size,
        "steps_a_round": steps,
        "n": rounds,
        "values": pairs,
        "median_loop": statistics.median(pair["loop"] for pair in pairs),
        "median_bare": statistics.median(pair["bare"] for pair in pairs),
        "median_ratio": statistics.median(ratios),
        "mean_ratio": statistics.mean(ratios),
        "range_of_ratios": [min(ratios), max(ratios)],
        "median_cpu_ratio": statistics.median(
            pair["loop_cpu_seconds"] / pair["bare_cpu_seconds"] for pair in pairs
        ),
        "environment": describe_environment(runtime),
    }


def main() -> None:
    """Reads the arguments, measures, prints, and writes the record where --out names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", choices=[name for name, *_ in NETWORKS])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-images-") as home:
        os.environ["XDG_CACHE_HOME"] = f"{home}/cache"
        source = write_list(Path(home), args.images)
        began = time.perf_counter()
        splits = load_splits(recipe_of("simple_net", 1, source).data, print)
        seconds = time.perf_counter() - began
        store_bytes = splits.train.images.nbytes
        del splits
        networks = [entry for entry in NETWORKS if args.networks is None or entry[0] in args.networks]
        found = [compare(*entry, args.rounds, source) for entry in networks]
        with open("/proc/self/status") as status:
            peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    environments = [result.pop("environment") for result in found]
    record = {
        "question": "images/s of the training loop on a memory map of 256-pixel images, none of them in "
        "memory before, over those of the same network on one resident batch",
        "command": " ".join(["python benchmarks/large_images.py", *sys.argv[1:]]),
        "commit": commit(),
        "images": args.images,
        "store_bytes": store_bytes,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "decoding_seconds": seconds,
        "peak_memory_bytes": peak,
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "environment": environments[0],
        "values": found,
    }
    for result in found:
        print(f"{result['network']}: median ratio {result['median_ratio']:.3f} of {result['n']}")
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
