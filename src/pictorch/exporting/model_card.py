"""The model card: what a bundle is, takes and scored, in a page of Markdown without a date.

The head of it is the metadata that Hugging Face's hub reads (huggingface.co/docs/hub/model-cards); there
the page is called README.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pictorch.bundle import BundleFacts
from pictorch.exporting import imported_card
from pictorch.images import shown
from pictorch.metrics.interval import wilson_interval
from pictorch.recipe import SECTIONS, default_of
from pictorch.run_folder import ClassScore
from pictorch.views import NO_VIEWS, VIEWS

LICENCE = (
    "not stated: pictorch's own licence does not cover these weights; the person who trained them and "
    "the terms of the training images decide"
)

_MOST_CLASSES = 100
_WORST_CLASSES = 20
_FITTED = {"crop": "shrinks and centre-crops", "pad": "shrinks and pads", "stretch": "stretches"}
_SPLITS = {"val": "validation", "test": "test"}
_HUB_NAMES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
}


@dataclass(frozen=True)
class RunFacts:
    """What the card tells of the run beside the bundle's own facts.

    `source` is the name of a known data set, None for anybody's images; `counts` the images of each split;
    `per_class` the scores of each class on the split `scored`, none where these weights have none.
    """

    source: str | None
    counts: Mapping[str, int]
    per_class: Sequence[ClassScore] = ()
    scored: str = "val"


def model_card(facts: BundleFacts, run: RunFacts, *, golden_images: int, parity_images: int) -> str:
    """Returns the text of MODEL_CARD.md."""
    recipe, imported = facts.recipe, imported_card.imported_facts(facts)
    source = _sources(recipe["data"])
    images = ", ".join(f"{count:,} {name}" for name, count in _named_counts(run.counts))
    sections = [
        _front_matter(facts, run),
        f"# {recipe['name']}: an image classifier",
        imported_card.introduction(imported, len(facts.class_names))
        if imported
        else f"Network `{recipe['model']['name']}`, trained by pictorch on {source}; "
        f"checkpoint `{facts.checkpoint}`. It names one of {len(facts.class_names)} classes for an image "
        "and gives each class a probability.",
        "## Intended use\n\n" + _intended_use(facts),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _limits(facts, run)),
        *([f"## 8-bit integers\n\n{_int8(facts.quantization, facts)}"] if facts.quantization else []),
        "## Scores\n\n" + _scores(facts),
        "## Scores of each class\n\n" + _class_table(facts, run),
        "## Classes\n\n" + _classes(facts.class_names),
        "## Input\n\n" + _input(facts),
        "## Data\n\n"
        + (
            imported_card.data(imported, images, facts.data_fingerprint)
            if imported
            else f"Source {source}, fingerprint `{facts.data_fingerprint}`. Images: {images}."
        ),
        f"## Preprocessing\n\n{imported_card.preprocessing(imported)}"
        if imported
        else "## Recipe\n\n" + _recipe(recipe),
        "## Checks\n\n"
        f"model.onnx (operator set {facts.opset}) was compared with {_compared(facts, parity_images)}. "
        f"golden.npz holds {golden_images} {imported_card.golden_origin(facts)} as the model sees "
        "them, with the answers to them; they are answered again whenever the bundle is opened. "
        "Whoever gets the bundle can look at them.",
        "## Use\n\n" + _USE,
        f"## Licence\n\n{facts.licence}",
    ]
    return "\n\n".join(sections) + "\n"


_USE = """\
```
pictorch verify BUNDLE
pictorch predict BUNDLE photo.jpg --top 3
pictorch serve BUNDLE
```

```python
import pictorch

predictor = pictorch.load("BUNDLE")
print(predictor(["photo.jpg"])[0].name)
```"""


def _compared(facts: BundleFacts, images: int) -> str:
    imported = imported_card.imported_facts(facts)
    if facts.quantization is None and imported:
        return imported_card.comparison(imported, images)
    if facts.quantization is None:
        return (
            f"PyTorch on {images:,} images of the run before it was written: probabilities within 1e-4 and "
            "equal top classes"
        )
    return (
        f"the float bundle on {images:,} images before it was written: "
        f"{facts.quantization['equal_top1']:.2%} of the top classes are equal"
    )


def _int8(quantization: Mapping[str, Any], facts: BundleFacts) -> str:
    """Returns what the integers are, and what they cost on validation images."""
    before, after = quantization["float"], facts.metrics["val"]
    rows = [
        f"| {name} | {scores['accuracy']:.2%} | {scores['accuracy_interval'][0]:.2%} to "
        f"{scores['accuracy_interval'][1]:.2%} |"
        for name, scores in (("float32, before", before), ("int8, this bundle", after))
    ]
    table = ["| weights | accuracy | 95 % interval |", "|---|---|---|", *rows]
    return (
        f"This is an int8 bundle. Weights: {quantization['weights']}; activations: "
        f"{quantization['activations']}, ranges by {quantization['calibration']} over "
        f"{quantization['calibration_images']:,} training images. Normalisation, enlargement, logits and "
        f"softmax are float. The same {before['n']:,} validation images before and after:\n\n"
        + "\n".join(table)
        + "\n\n"
        f"Answers to the golden samples may lie {facts.golden_tolerance:g} from the stored ones, since a "
        "last bit of the float part can move an integer by one."
    )


def _front_matter(facts: BundleFacts, run: RunFacts) -> str:
    """Returns the metadata; 'unknown' is the hub's own word for a licence that is not stated."""
    name = facts.recipe["name"]
    data_name = run.source or facts.recipe["data"]["source"] or facts.recipe["data"]["train"]
    dataset = {"name": data_name, "type": _HUB_NAMES.get(run.source or "", data_name)}
    results: list[dict[str, Any]] = [
        {
            "task": {"type": "image-classification"},
            "dataset": {**dataset, "split": _SPLITS[split]},
            "metrics": [
                {"type": "accuracy", "value": scores["accuracy"], "name": _accuracy_in_words(scores)}
            ],
        }
        for split in _SPLITS
        if (scores := facts.metrics.get(split))
    ]
    record = {
        "license": "unknown",
        "library_name": "pictorch",
        "pipeline_tag": "image-classification",
        "tags": [
            "onnx",
            "pictorch",
            facts.recipe["model"]["name"],
            *(["int8"] if facts.quantization else []),
        ],
        **({"datasets": [_HUB_NAMES[run.source]]} if run.source in _HUB_NAMES else {}),
        "metrics": ["accuracy"],
        **({"model-index": [{"name": name, "results": results}]} if results else {}),
    }
    return f"---\n{yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=1000)}---"


def _accuracy_in_words(scores: Mapping[str, Any]) -> str:
    low, high = scores["accuracy_interval"]
    return f"accuracy (95 % interval {low:.4f} to {high:.4f}, n = {scores['n']})"


def _intended_use(facts: BundleFacts) -> str:
    return (
        f"Naming which of its {len(facts.class_names)} classes an image shows, where the images are like "
        "those that it was trained on and one class is the main thing in each. Before it is relied upon, "
        "judge it on images from where it is to be used: `pictorch evaluate BUNDLE --data FOLDER --out DIR`. "
        "It was not made, and not judged, for decisions about people, their health or their safety."
    )


def _limits(facts: BundleFacts, run: RunFacts) -> Iterator[str]:
    yield "Any image gets an answer, also one that shows none of the classes, or several."
    yield (
        f"Images are seen at {facts.input.stored_size} x {facts.input.stored_size} pixels; what is smaller "
        "than a pixel then is not seen."
    )
    yield (
        "The scores hold for images like those of the data. Other cameras, blur, and images made to mislead "
        "were not measured, nor how its errors fall on groups of people."
    )
    yield "Whether a probability of 0.8 is right in 80 % of cases was not measured."
    if run.per_class:
        worst = min(run.per_class, key=lambda score: score.f1)
        yield f"Its weakest class is {_code(worst.name)}, with an F1 of {worst.f1:.2%}."


def _sources(data: dict[str, Any]) -> str:
    test = data.get("test")
    return f"`{data['source'] or data['train']}`" + (f", tested on `{test}`" if test else "")


def _scores(facts: BundleFacts) -> str:
    rows, metrics = [], facts.metrics
    for key, words in _SPLITS.items():
        if key in metrics:
            scores = metrics[key]
            low, high = scores["accuracy_interval"]
            rows.append(f"| {words} | {scores['n']:,} | {scores['accuracy']:.2%} | {low:.2%} to {high:.2%} |")
    is_foreign = imported_card.imported_facts(facts) is not None
    if not rows:
        return f"This checkpoint was not evaluated before it was {'imported' if is_foreign else 'exported'}."
    table = ["| images | n | accuracy | 95 % interval |", "|---|---|---|---|", *rows]
    return "\n".join(table) + "\n\n" + (imported_card.CAUTION if is_foreign else _caution(metrics))


def _caution(metrics: dict[str, Any]) -> str:
    if "test" not in metrics:
        return (
            "Validation images took part in choosing the checkpoint, so their score leans to the bright "
            "side; the test images were not evaluated for it."
        )
    openings = metrics["test_openings"]
    return f"The test images were opened {openings} time{'' if openings == 1 else 's'} in this run."


def _class_table(facts: BundleFacts, run: RunFacts) -> str:
    """Returns a row for each class, of very many the weakest; the interval is that of the recall."""
    if not run.per_class:
        if imported_card.imported_facts(facts):
            return "These weights have none: `pictorch evaluate BUNDLE --data FOLDER --out DIR` makes them."
        return "These weights have none: `pictorch evaluate RUN` makes them, before the export."
    chosen, of = list(run.per_class), f"On {_SPLITS[run.scored]} images"
    if len(chosen) > _MOST_CLASSES:
        chosen = sorted(chosen, key=lambda score: score.f1)[:_WORST_CLASSES]
        of = f"The {_WORST_CLASSES} with the lowest F1 on {_SPLITS[run.scored]} images"
    alone = ", each shown once, without views" if facts.views != NO_VIEWS else ""
    rows = [
        "| class | n | precision | recall | 95 % interval of the recall | F1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for score in chosen:
        low, high = wilson_interval(round(score.recall * score.n), score.n)
        rows.append(
            f"| {_code(score.name)} | {score.n:,} | {score.precision:.2%} | {score.recall:.2%} | "
            f"{low:.2%} to {high:.2%} | {score.f1:.2%} |"
        )
    return f"{of}{alone}:\n\n" + "\n".join(rows)


def _code(name: str) -> str:
    """Returns a name as code that stays inside its cell of a table."""
    ticks = "``" if "`" in name else "`"
    padding = " " if "`" in name else ""
    return f"{ticks}{padding}{shown(name)}{padding}{ticks}".replace("|", "\\|")


def _classes(names: tuple[str, ...]) -> str:
    shown_ones = ", ".join(map(_code, names[:_MOST_CLASSES]))
    hidden = len(names) - _MOST_CLASSES
    return shown_ones + (f" and {hidden:,} more in bundle.json" if hidden > 0 else "")


def _named_counts(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    words = {"train": "for training", **_SPLITS}
    return [(words[split], counts[split]) for split in words if counts.get(split)]


def _recipe(recipe: Mapping[str, Any]) -> str:
    """Returns the fields that differ from their default, as a recipe is written."""
    changed: dict[str, Any] = {"name": recipe["name"]}
    for section in SECTIONS:
        fields = {
            key: value for key, value in recipe.get(section, {}).items() if _differs(section, key, value)
        }
        changed |= {section: fields} if fields else {}
    text = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    return f"What differs from pictorch's defaults; all of it stands in bundle.json.\n\n```yaml\n{text}```"


def _differs(section: str, key: str, value: Any) -> bool:
    default = default_of(section, key)
    return bool(value != (list(default) if isinstance(default, tuple) else default))


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
    shown_ones = "the image, its mirror" + (" and both moved by a pixel" if moved else "")
    return f" It averages the logits of {len(VIEWS[name])} views (`{name}`: {shown_ones})."
