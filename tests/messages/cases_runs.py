"""Run folders and checkpoints: missing, damaged, changed by hand, of another run or a newer pictorch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from messages.case import Case, Remedy, Setup, again, instead, told, typed
from messages.faults import Fault, ordinary_rights
from messages.material import recipe, run
from pictorch import durable

JUDGE = "evaluate run -q"
RESUME = "train --resume run -q --epochs 3"
BEST, LAST = Path("run/checkpoints/best"), Path("run/checkpoints/last")
NEWER = "a newer pictorch is not there to be installed"


def fresh() -> None:
    """Puts the whole run folder back, as from a copy."""
    shutil.rmtree("run")
    run()


def changed(path: str, change: Callable[[bytes], bytes]) -> Setup:
    def setup() -> None:
        run()
        Path(path).write_bytes(change(Path(path).read_bytes()))

    return setup


def edited(path: str, **values: object) -> Setup:
    """Changes keys of a JSON file; None removes them."""

    def change(data: bytes) -> bytes:
        record = {**json.loads(data), **values}
        return json.dumps({key: value for key, value in record.items() if value is not None}).encode()

    return changed(path, change)


def case(name: str, names: str, setup: Setup, argv: str = JUDGE, remedy: Remedy | None = None, fault: Fault | None = None) -> Case:  # fmt: skip
    """A case of a run folder; the default remedy puts it back."""
    faults = {"fault": fault} if fault else {}
    return Case(name, argv, 4, names, remedy or again(fresh), setup, **faults)


def resealed(folder: Path, **facts: object) -> None:
    """Gives a checkpoint whose files were changed the sizes and hashes of what lies there now."""
    manifest = {**json.loads((folder / "manifest.json").read_bytes()), **facts}
    manifest["files"] = {
        path.name: {"size": path.stat().st_size, "sha256": durable.file_sha256(path)}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    durable.seal_manifest(manifest)
    (folder / "manifest.json").write_bytes(durable.json_bytes(manifest))


def reweighted(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    resealed(folder)


def no_checkpoint() -> None:
    run()
    shutil.rmtree("run/checkpoints")
    facts = json.loads(Path("run/run.json").read_bytes())
    Path("run/run.json").write_text(json.dumps({**facts, "finished_epoch": None}))


def newer_checkpoint() -> None:
    run()
    resealed(BEST, schema=99)


def not_weights() -> None:
    run()
    (BEST / "model.safetensors").write_bytes(b"no tensors")
    resealed(BEST)


def not_state() -> None:
    run()
    for folder in (LAST, Path("run/checkpoints/last.previous")):
        if folder.exists():
            (folder / "state.pt").write_bytes(b"no state")
            resealed(folder)


def other_network() -> None:
    run()
    reweighted(BEST, lambda weights: weights.popitem())


def explosive() -> None:
    run()
    reweighted(
        BEST, lambda weights: [tensor.fill_(1e38) for name, tensor in weights.items() if "network" in name]
    )


def damaged(
    *names: str, file: str = "model.safetensors", change: Callable[[Path], object] = Path.unlink
) -> Setup:
    def setup() -> None:
        run()
        for name in names:
            for folder in Path("run/checkpoints").glob(f"{name}*"):
                change(folder / file)

    return setup


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 255]))


def only_best_damaged() -> None:
    run()
    shutil.rmtree("run/checkpoints")
    fresh()
    for folder in Path("run/checkpoints").iterdir():
        if folder.name != "best":
            shutil.rmtree(folder)
    (BEST / "state.pt").unlink()


def listed_wrong(path: Path) -> None:
    record = json.loads(path.read_bytes())
    record["files"] = 5
    path.write_text(json.dumps(record))


def resume_of_all_damaged(name: str, names: str, setup: Setup) -> Case:
    return case(name, names, setup, RESUME)


# fmt: off
CASES = [
    case("run that is not there", "runs/none", lambda: recipe(), "report runs/none", instead("train small.yaml -q --out runs/none", says="`pictorch train` made")),
    case("folder that is no run", "photos is not a run folder", lambda: recipe(), "evaluate photos -q", instead("train small.yaml -q --out other", says="`pictorch train` made")),
    case("run of a newer pictorch", "schema 99", edited("run/run.json", schema=99), remedy=told(NEWER, says="`pip install -U pictorch`")),
    case("run.json that is no JSON", "run/run.json is damaged", changed("run/run.json", lambda data: data[:-9])),
    case("run.json that is a list", "run/run.json is not what", changed("run/run.json", lambda data: b"[]")),
    case("run.json without segments", "run/run.json has no 'segments'", edited("run/run.json", segments=None), RESUME),
    case("data.json without fingerprint", "run/data.json has no 'fingerprint'", edited("run/data.json", fingerprint=None)),
    case("data.json without rights", "run/data.json cannot be read", lambda: run().joinpath("data.json").chmod(0), remedy=typed(), fault=ordinary_rights),
    case("data.json with another resampling", "nearest", lambda: _resampled("run/data.json"), remedy=told(NEWER, says="`pip install -U pictorch`")),
    case("metrics that are no JSON", "run/metrics.jsonl is damaged", changed("run/metrics.jsonl", lambda data: b"x" + data), "report run"),
    case("pictures that are damaged", "run/samples.npz is damaged", changed("run/samples.npz", lambda data: data[:-9]), "report run", again(lambda: Path("run/samples.npz").unlink())),
    case("evaluation that was changed", "run/evaluation/val.json is not what", lambda: (run(), Path("run/evaluation").mkdir(exist_ok=True), Path("run/evaluation/val.json").write_text('{"split": "val", "accuracy_interval": [0]}')), "report run", typed()),
    case("metrics that were cut", "run/metrics.jsonl is shorter", changed("run/metrics.jsonl", lambda data: data[:-200]), RESUME),
    case("run without a checkpoint", "run has no checkpoint yet", no_checkpoint, remedy=typed()),
    case("checkpoint that was not kept", "'epoch-7'", run, "evaluate run -q --checkpoint epoch-7", instead("evaluate run -q --checkpoint epoch-1", says="epoch-0001")),
    case("checkpoint of a newer pictorch", "schema 99", newer_checkpoint, remedy=told(NEWER, says="`pip install -U pictorch`")),
    case("weights that are none", "run/checkpoints/best/model.safetensors", not_weights),
    case("state that is none", "run/checkpoints/last/state.pt", not_state, RESUME),
    case("weights of another network", "run/checkpoints/best does not fit", other_network),
    case("checkpoint without weights", "run/checkpoints/best is damaged (model.safetensors is missing)", damaged("best"), remedy=typed()),
    case("checkpoint with one byte more", "size of model.safetensors", damaged("best", change=lambda path: path.write_bytes(path.read_bytes() + b"x")), remedy=typed()),
    case("checkpoint with a flipped bit", "sha256 of model.safetensors", damaged("best", change=flip), remedy=typed()),
    case("checkpoint without a manifest", "manifest.json is missing", damaged("best", file="manifest.json"), remedy=typed()),
    case("checkpoint with another manifest", "its own sha256 differs", damaged("best", file="manifest.json", change=lambda path: path.write_bytes(path.read_bytes().replace(b'"step"', b'"stap"'))), remedy=typed()),
    case("manifest that lists nothing", "it lists no files", damaged("best", file="manifest.json", change=listed_wrong), remedy=typed()),
    case("manifest of nested lists", "it is not JSON that pictorch wrote", damaged("best", file="manifest.json", change=lambda path: path.write_text("[" * 100_000)), remedy=typed()),
    case("weights without rights", "best/model.safetensors cannot be read", damaged("best", change=lambda path: path.chmod(0)), remedy=typed(), fault=ordinary_rights),
    case("manifest without rights", "best/manifest.json cannot be read", damaged("best", file="manifest.json", change=lambda path: path.chmod(0)), remedy=typed(), fault=ordinary_rights),
    case("all checkpoints damaged", "no other checkpoint of run is whole", damaged("best", "last", "epoch"), RESUME),
    case("last checkpoint gone, best damaged", "there is no checkpoint at run/checkpoints/last", only_best_damaged, RESUME),
    Case("weights that explode", JUDGE, 6, "the network's output is not finite", instead(f"{JUDGE} --checkpoint last", says="name an earlier --checkpoint"), explosive),
]
# fmt: on


def _resampled(path: str) -> None:
    run()
    record = json.loads(Path(path).read_bytes())
    record["input"]["resampling"] = "nearest"
    Path(path).write_text(json.dumps(record))
