"""Predictions of many images by actors of Ray Data, each with a predictor of its own:

python examples/ray_predict.py BUNDLE IMAGES OUT [--actors N]

BUNDLE is a place that every node sees; IMAGES is a folder, or an address that Ray Data reads, as
s3://bucket/photos. OUT becomes a folder of Parquet files: path, class, probability and error, in no order.
Reading and writing need a CPU of their own beside those of the actors.
"""

import argparse
import math
import os
from typing import Any

# Nobody is told that Ray ran, as nobody is told that pictorch did.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

import pictorch

SUFFIXES = ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"]
BATCH_SIZE = 256


class Actor:
    """A bundle, opened and verified once, that answers batch after batch on one CPU."""

    def __init__(self, bundle: str) -> None:
        self.predictor = pictorch.load(bundle, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Returns a row for each file of {path, bytes}; one that is no image has an error and no class."""
        answers = [answer.to_json() for answer in self.predictor.stream(batch["bytes"], top=1)]
        best = [answer.get("classes", [{"name": "", "probability": math.nan}])[0] for answer in answers]
        return {
            "path": list(batch["path"]),
            "class": [one["name"] for one in best],
            "probability": [one["probability"] for one in best],
            "error": [answer.get("error", "") for answer in answers],
        }


def main() -> None:
    """Answers all images and writes the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--actors", type=int, default=1)
    args = parser.parse_args()
    bundle = os.path.abspath(args.bundle)
    files = ray.data.read_binary_files(args.images, include_paths=True, file_extensions=SUFFIXES)
    answers = files.map_batches(
        Actor,
        fn_constructor_args=[bundle],
        batch_size=BATCH_SIZE,
        compute=ray.data.ActorPoolStrategy(size=args.actors),
    )
    answers.write_parquet(os.path.abspath(args.out))


if __name__ == "__main__":
    main()
