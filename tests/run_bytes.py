"""What must be equal between a training that was stopped and one that was not, as bytes."""

from pathlib import Path


def files_of(run: Path) -> dict[str, bytes]:
    """Weights, optimiser, metrics, what was chosen, and the bundle where there is one."""
    names = [
        *(
            f"checkpoints/{kept}/{file}"
            for kept in ("last", "best")
            for file in ("model.safetensors", "state.pt")
        ),
        "metrics.jsonl",
        *(f"bundle/{path.name}" for path in sorted((run / "bundle").glob("*"))),
    ]
    return {name: (run / name).read_bytes() for name in names}


def differing(one: Path, other: Path) -> list[str]:
    """Returns the names of the files that are not equal."""
    left, right = files_of(one), files_of(other)
    assert left.keys() == right.keys()
    return [name for name in left if left[name] != right[name]]
