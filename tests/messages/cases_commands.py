"""Wrong commands: what the parser refuses, and flags that do not go together."""

from functools import wraps
from pathlib import Path

import torch

from made_data import write_classes
from messages import material
from messages.case import Case, again, instead, meant, typed
from messages.faults import environment, locked, patched

PARSER = "cli: the command line's own parser refuses it"


def broken_compiler() -> None:
    """A compiler that tells its version and compiles nothing."""
    Path("compiler").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo 1.0 && exit\necho an error >&2; exit 1\n'
    )
    Path("compiler").chmod(0o755)


# fmt: off
CASES = [
    Case("no command", "", 2, "no command", typed(then_again=False), only=PARSER),
    Case("unknown command", "trian small.yaml --out out -q", 2, "'trian'", meant, material.recipe, only=PARSER),
    Case("unknown flag", "train small.yaml --out out -q --sed 1", 2, "'--sed'", meant, material.recipe, only=PARSER),
    Case("flag with = ", "train small.yaml --out out -q --sed=1", 2, "'--sed=1'", meant, material.recipe, only=PARSER),
    Case("shortened flag", "train small.yaml --out out -q --epoch 1", 2, "'--epoch'", meant, material.recipe, only=PARSER),
    Case("missing argument", "evaluate", 2, "RUN|BUNDLE", typed(then_again=False), only=PARSER),
    Case("no number", "train small.yaml --seed x", 2, "'x'", typed(then_again=False), only=PARSER),
    Case("unknown choice", "train small.yaml --out out -q --device gpu", 2, "'gpu'", meant, material.recipe, only=PARSER),
    Case("quiet and verbose", "train small.yaml -q -v", 2, "-q/--quiet", typed(then_again=False), only=PARSER),
    Case("no recipe", "train", 2, "no recipe", typed(1, then_again=False)),
    Case("resume and seed", "train --resume run --seed 1", 2, "--resume run", instead("train --resume run -q", says="leave out --seed"), material.run),
    Case("resume and out", "train small.yaml --resume out --out other -q", 2, "--out other", instead("train small.yaml --resume out -q", says="leave out --out"), material.recipe),
    Case("resume with another recipe", "train small.yaml --resume run -q", 2, "data.source", instead("train --resume run -q", says="leave out RECIPE"), lambda: (material.recipe(), material.run())),
    Case("fewer epochs", "train --resume run -q --epochs 1", 2, "--epochs 1", typed(), material.run),
    Case("folder that holds something", "train small.yaml -q --out photos", 2, "--out photos", instead("train small.yaml -q --out other", says="choose another --out"), material.recipe),
    Case("folder that is a run", "train small.yaml -q --out run", 2, "--out run", typed(then_again=False), lambda: (material.recipe(), material.run())),
    Case("run in use", "train --resume run -q", 7, "run is in use", again(lambda: None), material.run, fault=locked("run/run.lock")),
    Case("device that is not here", "train small.yaml -q --out out --device cuda", 2, "cuda", typed(), material.recipe, patched(torch.cuda, "is_available", lambda: False)),
    Case("own kernels on another device", "train small.yaml -q --out out --set train.kernels=own --set train.device=auto", 2, "mps", typed(), material.recipe, patched(torch.backends.mps, "is_available", wraps(torch.backends.mps.is_available)(lambda: True))),
    Case("own kernels without a compiler", "train small.yaml -q --out out --set train.kernels=own", 2, "CXX=nothing", typed(), material.recipe, environment(CXX="nothing", XDG_CACHE_HOME="empty"), makes=("empty",)),
    Case("kernels without a compiler", "doctor --build-kernels", 9, "CXX=nothing", instead("doctor", says="or go without"), fault=environment(CXX="nothing", XDG_CACHE_HOME="empty")),
    Case("kernels that cannot be compiled", "doctor --build-kernels", 5, "compiler failed: an error", instead("doctor", says="or go without"), broken_compiler, environment(CXX="./compiler", XDG_CACHE_HOME="empty"), makes=("empty",)),
    Case("list of runs that is not there", "runs elsewhere", 2, "elsewhere", typed(then_again=False)),
    Case("one word of two", "data", 2, "data", typed(then_again=False), only=PARSER),
    Case("other images", "train --resume run -q --epochs 3 --data other", 3, "image folder other", instead("train --resume run -q --epochs 3 --data photos", says="name the right ones with --data"), lambda: (material.run(), material.photos(), write_classes(Path("other"), dict.fromkeys(material.CLASSES, 4)))),
    Case("unknown split", "evaluate run -q --split tset", 2, "'tset'", meant, material.run),
    Case("bundle without data", "evaluate bundle -q", 2, "bundle is a bundle", instead("evaluate bundle -q --data photos --out judged", says="give --data SOURCE and --out DIR"), lambda: (material.bundle(), material.photos())),
    Case("evaluation into the bundle", "evaluate bundle -q --data photos --out bundle/x", 2, "--out bundle/x", instead("evaluate bundle -q --data photos --out judged", says="choose another folder"), lambda: (material.bundle(), material.photos())),
    Case("out for a run", "evaluate run -q --out judged", 2, "--out judged", instead("evaluate run -q", says="leave out --out"), material.run),
    Case("top 0", "predict bundle photos/red/000.png --top 0", 2, "--top 0", instead("predict bundle photos/red/000.png --top 1", says="at least 1 class"), lambda: (material.bundle(), material.photos())),
    Case("one class only asked for", "models simple_net --num-classes 1", 2, "--num-classes 1", instead("models simple_net --num-classes 2", says="at least 2 classes")),
    Case("graph of all networks", "models --graph all.svg", 2, "--graph all.svg", typed(then_again=False)),
    Case("graph of another kind", "models simple_net --graph net.png", 2, "net.png", typed()),
    Case("graph without a name", ["models", "simple_net", "--graph", ""], 2, "--graph .", typed()),
    Case("graph that is there", "models simple_net --graph net.svg", 2, "net.svg", again(lambda: Path("net.svg").unlink()), lambda: Path("net.svg").write_text("mine")),
    Case("profile of no step", "profile small.yaml -q --steps 0", 2, "--steps 0", typed(), material.recipe),
    Case("profile into a folder that holds something", "profile small.yaml -q --steps 1 --out photos", 2, "--out photos", instead("profile small.yaml -q --steps 1 --out other", says="choose another --out"), material.recipe),
]
# fmt: on
