"""A source of a million entries: what one shard of it needs of memory, from a folder and from a list.

`make soak` asks for the million; without it there are so many that each folder is begun.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tiny_bundle import color_image, make_bundle

ENTRIES = int(os.environ.get("PICTORCH_SOAK_ENTRIES", "8000"))
FOLDERS = 100
SHARDS = 8
MOST_BYTES = 500e6
PROGRAM = """
import sys, pictorch
from pictorch.host import peak_process_bytes
made = pictorch.predict("b", [sys.argv[1]], shard=sys.argv[2], out=sys.argv[3])
print(made.rows, made.refused, peak_process_bytes())
"""


@pytest.mark.slow
def test_a_shard_stays_within_its_memory(own_place: None) -> None:
    make_bundle(Path("b"))
    files = []
    for color in ("red", "green", "blue"):
        Image.fromarray(color_image(color)).save(f"{color}.png")
        files.append(os.path.abspath(f"{color}.png"))
    try:
        with open("million.txt", "w") as names:
            for folder in range(FOLDERS):
                os.makedirs(f"million/{folder:03d}")
                for number in range(ENTRIES // FOLDERS):
                    link = f"million/{folder:03d}/{number:06d}.png"
                    os.symlink(files[number % 3], link)
                    names.write(f"{link}\n")
        for source, out in (("million", "part.csv"), ("million.txt", "part.parquet")):
            command = [sys.executable, "-c", PROGRAM, source, f"1/{SHARDS}", out]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows, refused, peak_bytes = map(int, done.stdout.split())
            assert (rows, refused) == (ENTRIES // SHARDS, 0)
            assert peak_bytes < MOST_BYTES, source
    finally:
        shutil.rmtree("million")
