"""What the model card says of a model that was trained elsewhere, where a run's tells of its training."""

from collections.abc import Mapping
from typing import Any

from pictorch.bundle import BundleFacts
from pictorch.images import shown

CAUTION = "Whether these images were among those that it was trained on is not known here."


def imported_facts(facts: BundleFacts) -> Mapping[str, Any] | None:
    """Returns what an imported bundle tells of the file that it was made of, None for any other bundle."""
    found: Mapping[str, Any] | None = facts.recipe.get("imported")
    return found


def introduction(imported: Mapping[str, Any], num_classes: int) -> str:
    """Returns the first paragraph."""
    return (
        f"Imported from `{imported['file']}` (SHA-256 `{imported['sha256']}`, written by "
        f"{imported['producer']}): pictorch did not train it. It names one of {num_classes} classes for an "
        "image and gives each class a probability."
    )


def data(imported: Mapping[str, Any], counts: str, fingerprint: str) -> str:
    """Returns what is known of images."""
    unknown = "Which images it was trained on is not known here."
    if imported["judged_on"] is None:
        return f"{unknown} It was not judged on any: its golden samples are made of patches of colour."
    return (
        f"{unknown} It was judged on `{imported['judged_on']}`, fingerprint `{fingerprint}`: {counts}, as "
        "pictorch divides them. Some of them may have been among its training images."
    )


def preprocessing(imported: Mapping[str, Any]) -> str:
    """Returns what stands around the foreign graph."""
    mean, std = (", ".join(f"{value:g}" for value in imported[key]) for key in ("mean", "std"))
    shape = ", ".join(map(str, ("N", *imported["shape"])))
    softmax = "a softmax behind its logits" if imported["softmax"] else "its probabilities as they are"
    return (
        f"As it was said at the import: {imported['channels']} pixels {imported['pixels']}, less the mean "
        f"{mean}, divided by {std}, in the order {imported['layout']}, as ({shape}); then {softmax}. If this "
        "is not what it was trained with, its answers are worse than they need to be."
    )


def golden_origin(facts: BundleFacts) -> str:
    """Returns what the golden samples are, to follow their number."""
    imported = imported_facts(facts)
    if imported is None:
        return "images of the run"
    return "made images" if imported["judged_on"] is None else f"images of `{shown(imported['judged_on'])}`"


def comparison(imported: Mapping[str, Any], images: int) -> str:
    """Returns what the graph was compared with, to follow 'compared with'."""
    of = (
        "made"
        if imported["judged_on"] is None
        else f"those of `{shown(imported['judged_on'])}`, made where too few"
    )
    return (
        f"the imported file in ONNX Runtime on {images:,} images ({of}) before it was written: probabilities "
        "within 1e-4 and equal top classes"
    )
