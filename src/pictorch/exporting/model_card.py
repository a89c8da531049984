"""The model card: what a bundle is, takes and scored, in a page of Markdown without a date."""

from typing import Any

from pictorch.bundle import BundleFacts
from pictorch.views import NO_VIEWS, VIEWS

_MOST_CLASSES = 100
_FITTED = {"crop": "shrinks and centre-crops", "pad": "shrinks and pads", "stretch": "stretches"}
_SPLITS = (("val", "validation"), ("test", "test"))


def model_card(facts: BundleFacts, *, golden_images: int, parity_images: int) -> str:
    """Returns the text of MODEL_CARD.md."""
    recipe = facts.recipe
    source = _sources(recipe["data"])
    sections = [
        f"# {recipe['name']}: an image classifier",
        f"Network `{recipe['model']['name']}`, trained by pictorch on {source}; "
        f"checkpoint `{facts.checkpoint}`. It names one of {len(facts.class_names)} classes for an image "
        "and gives each class a probability. Any image gets an answer, also one that shows none of the "
        "classes.",
        "## Scores\n\n" + _scores(facts.metrics),
        "## Classes\n\n" + _classes(facts.class_names),
        "## Input\n\n" + _input(facts),
        "## Data\n\n"
        f"Source {source}, fingerprint `{facts.data_fingerprint}`. The whole recipe "
        "stands in bundle.json.",
        "## Checks\n\n"
        f"model.onnx (operator set {facts.opset}) was compared with PyTorch on {parity_images:,} images "
        "of the run before it was written: probabilities within 1e-4 and equal top classes. golden.npz "
        f"holds {golden_images} images of the run as the model sees them, with the answers to them; they "
        "are answered again whenever the bundle is opened. Whoever gets the bundle can look at them.",
        "## Use\n\n" + _USE,
        f"## Licence\n\n{facts.licence}",
    ]
    return "\n\n".join(sections) + "\n"


_USE = """\
```
pictorch verify BUNDLE
pictorch predict BUNDLE photo.jpg --top 3
```

```python
import pictorch

predictor = pictorch.load("BUNDLE")
print(predictor(["photo.jpg"])[0].name)
```"""


def _sources(data: dict[str, Any]) -> str:
    test = data.get("test")
    return f"`{data['source'] or data['train']}`" + (f", tested on `{test}`" if test else "")


def _scores(metrics: dict[str, Any]) -> str:
    rows = []
    for key, words in _SPLITS:
        if key in metrics:
            scores = metrics[key]
            low, high = scores["accuracy_interval"]
            rows.append(f"| {words} | {scores['n']:,} | {scores['accuracy']:.2%} | {low:.2%} to {high:.2%} |")
    if not rows:
        return "This checkpoint was not evaluated before it was exported."
    table = ["| images | n | accuracy | 95 % interval |", "|---|---|---|---|", *rows]
    return "\n".join(table) + "\n\n" + _caution(metrics)


def _caution(metrics: dict[str, Any]) -> str:
    if "test" not in metrics:
        return (
            "Validation images took part in choosing the checkpoint, so their score leans to the bright "
            "side; the test images were not evaluated for it."
        )
    openings = metrics["test_openings"]
    return f"The test images were opened {openings} time{'' if openings == 1 else 's'} in this run."


def _classes(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_CLASSES])
    hidden = len(names) - _MOST_CLASSES
    return shown + (f" and {hidden:,} more in bundle.json" if hidden > 0 else "")


def _input(facts: BundleFacts) -> str:
    stored, seen = facts.input.stored_size, facts.input.image_size
    enlarged = f", which the model enlarges to {seen} x {seen}" if seen != stored else ""
    return (
        f"Images of any size: pictorch {_FITTED[facts.input.fit]} them to {stored} x {stored} pixels"
        f"{enlarged}. The graph itself takes `images`, uint8 (N, {stored}, {stored}, 3), RGB, and gives "
        f"`probabilities`, float32 (N, {len(facts.class_names)}); normalisation and softmax are inside."
        + _views(facts.views)
    )


def _views(name: str) -> str:
    if name == NO_VIEWS:
        return ""
    moved = any(view.dx or view.dy for view in VIEWS[name])
    shown = "the image, its mirror" + (" and both moved by a pixel" if moved else "")
    return f" It averages the logits of {len(VIEWS[name])} views (`{name}`: {shown})."
