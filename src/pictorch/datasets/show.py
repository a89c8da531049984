"""`data show`: what images are like, in figures and in three pictures, and what a recipe makes of them."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pictorch import durable, notebook
from pictorch.datasets.augment import augment, check_fits, draw
from pictorch.datasets.contents import Contents, LineConsole, Pictures, Pixels, progress_of
from pictorch.datasets.decoding import all_groups, all_labels, part_counts
from pictorch.datasets.mixing import draw_mix, mixed, mixes
from pictorch.datasets.sources import SOURCES, find_source, fitting_recipe
from pictorch.datasets.splits import Splits, divide
from pictorch.datasets.store import Store
from pictorch.datasets.survey import Channels, PartSurvey, Survey, channels_of, survey
from pictorch.errors import RecipeError
from pictorch.images import Fit, decode_image, fit_pixels, shown, side_of
from pictorch.randomness import Purpose, permutation
from pictorch.recipe import AugmentSection, Recipe
from pictorch.recipe.files import RecipeRef, load_recipe

_ROWS, _COLUMNS = 12, 8  # of samples; more classes get one image each
_MOST_CLASSES = 60
_AUGMENTED_ROWS, _EPOCHS = 6, 5
_SAMPLE_SIDE = 128
_DETAILS = {"crop_fill", "policy_operations", "policy_magnitude"}
_SIDE_OF_MIXED = 64  # where neither recipe nor images give one size


@dataclass(frozen=True)
class Shape:
    """A size that images have, upright, in pixels, and how many have it."""

    width: int
    height: int
    n: int


@dataclass(frozen=True)
class DataShow:
    """What the images of a source are like.

    `class_counts` holds for each split of `recipe` the images of each class. `channel_range` (0 to
    255), `channel_mean` and `channel_std` (fractions of full brightness) are those of R, G and B in its
    training images, each counting the same. `unreadable` files are in the counts and in nothing else.
    `needs` is what training needs beside the recipe, as for --set. `pictures` are the paths of what was
    drawn; `notes` are lines for people.
    """

    source: str
    origin: str
    recipe: str
    n: int
    unreadable: int
    shapes: tuple[Shape, ...]
    class_names: tuple[str, ...]
    class_counts: dict[str, tuple[int, ...]]
    channel_range: tuple[tuple[int, int], ...]
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]
    needs: tuple[str, ...]
    pictures: dict[str, str]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `data show --json` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        told = {
            "images": f"{self.n:,}",
            "sizes": ", ".join(f"{one.width} x {one.height} ({one.n:,})" for one in self.shapes[:5]),
            "mean of R, G, B": ", ".join(f"{value:.4f}" for value in self.channel_mean),
            "std of R, G, B": ", ".join(f"{value:.4f}" for value in self.channel_std),
            "recipe that fits": self.recipe,
        }
        counts = (
            {"class": name, **{split: f"{n[place]:,}" for split, n in self.class_counts.items()}}
            for place, name in enumerate(self.class_names)
        )
        drawn = (notebook.picture(Path(path).read_bytes(), path) for path in self.pictures.values()
                 if Path(path).is_file())  # fmt: skip
        table = notebook.rows("Classes", counts, left=("class",))
        return notebook.card(self.origin, notebook.facts(told), table, *self.notes, *drawn)


def data_show(
    source: str | Path,
    *,
    recipe: RecipeRef | None = None,
    root: str | Path | None = None,
    out: str | Path | None = None,
    console: LineConsole | None = None,
) -> DataShow:
    """Returns what the images of a source are like, and draws three pictures into the folder `out`.

    samples.png shows images with their classes, class_distribution.png the classes in each split,
    augmented.png images as training sees them under the recipe (default: the packaged one that fits
    the source). `out` is `<source>-pictures` by default; the relative paths of a list start from `root`,
    its own folder where that is None. Raises the DataErrors of `train`, and RecipeError where `out` lies
    among the images.
    """
    progress = progress_of(console)
    found = find_source(str(source), progress, root=None if root is None else str(root))
    folder = _picture_folder(source, out)
    with found.open() as contents:
        contents.require_sound()
        facts = survey(found, contents, progress)
        chosen = load_recipe(recipe or fitting_recipe(found, contents), {"data.source": str(source)})
        sizes = _sizes(facts)
        side, notes = _stored_side(chosen, sizes)
        needs = [f"data.image_size={_SIDE_OF_MIXED}"] if notes else []
        needs += [] if root is None else [f"data.root={root}"]
        chosen, refusals = _that_fits(chosen, side)
        splits = _divided(contents, side, chosen, found.origin)
        pictures, more_notes = _draw(contents, facts, splits, chosen, folder)
    channels = _training_channels(facts, splits)
    return DataShow(
        source=str(source),
        origin=found.origin,
        recipe=chosen.name,
        n=sum(part_counts(contents).values()),
        unreadable=sum(len(part.failures) for part in facts.values()),
        shapes=tuple(Shape(*size, n) for size, n in sizes.most_common()),
        class_names=tuple(shown(name) for name in contents.class_names),
        class_counts=_class_counts(splits),
        channel_range=channels.range,
        channel_mean=channels.mean,
        channel_std=channels.std,
        needs=tuple(needs),
        pictures=pictures,
        notes=(*contents.remarks, *notes, *refusals, *more_notes),
    )


def _picture_folder(source: str | Path, out: str | Path | None) -> Path:
    place = Path(source).expanduser()
    folder = Path(out) if out is not None else Path(f"{_name_of(source)}-pictures")
    if place.is_dir() and folder.resolve().is_relative_to(place.resolve()):
        raise RecipeError(
            f"--out {folder} lies among the images of {source} and would be taken for one of their "
            "folders; choose another with `--out DIR`"
        )
    return folder


def _name_of(source: str | Path) -> str:
    return str(source) if source in SOURCES else Path(source).expanduser().resolve().stem or "images"


def _sizes(facts: Survey) -> Counter[tuple[int, int]]:
    return Counter(
        (file.width, file.height) for part in facts.values() for file in part.files() if file.width
    )


def _stored_side(recipe: Recipe, sizes: Counter[tuple[int, int]]) -> tuple[int, list[str]]:
    """Returns the side that images are stored with under the recipe, as the store would choose it."""
    sides = {side_of(*size, recipe.data.fit) for size in sizes} or {1}
    if recipe.data.image_size is None and len(sides) > 1:
        note = (
            f"recipe {recipe.name} wants images of one size, and these have many: train with "
            f"--set data.image_size={_SIDE_OF_MIXED}, as the pictures show it"
        )
        return min(_SIDE_OF_MIXED, max(sides)), [note]
    return min(recipe.data.image_size or max(sides), max(sides)), []


def _that_fits(recipe: Recipe, side: int) -> tuple[Recipe, list[str]]:
    """Returns the recipe, less a crop and cutout that do not fit, and what did not."""
    try:
        check_fits(recipe.augment, side)
    except RecipeError as error:
        smaller = recipe.augment.model_copy(update={"crop_padding": 0, "cutout": 0})
        refusals = [f"training would refuse: {problem}" for problem in error.problems]
        return recipe.model_copy(update={"augment": smaller}), refusals
    return recipe, []


def _divided(contents: Contents, side: int, recipe: Recipe, origin: str) -> Splits:
    """Returns the splits that training would have; dividing looks at labels only, so no image is decoded."""
    labels = all_labels(contents)
    images = np.broadcast_to(np.uint8(0), (len(labels), side, side, 3))
    store = Store(images, labels, contents.class_names, part_counts(contents), "", (), all_groups(contents))
    return divide(store, recipe.data, origin)


def _training_channels(facts: Survey, splits: Splits) -> Channels:
    return channels_of(np.concatenate([part.facts for part in facts.values()])[splits.train.indices])


def _class_counts(splits: Splits) -> dict[str, tuple[int, ...]]:
    classes = len(splits.class_names)
    return {
        name: tuple(np.bincount(split.labels[split.indices], minlength=classes).tolist())
        for name, split in splits.named().items()
    }


def _draw(
    contents: Contents, facts: Survey, splits: Splits, recipe: Recipe, folder: Path
) -> tuple[dict[str, str], list[str]]:
    from pictorch.datasets.pictures import Lettering, draw_augmented, draw_class_counts, draw_samples

    names = [shown(name) for name in contents.class_names]
    lettering = Lettering.of(names)
    title = shown(_name_of(recipe.data.training_source))
    total = sum(part_counts(contents).values())
    usable, fit = _usable(contents, facts, splits), recipe.data.fit
    samples = _samples(contents.parts["train"], facts["train"], usable, names, fit)
    side = splits.input.stored_size
    shape = {"crop": "centre squares of training images", "pad": "training images, padded"}
    about = f"{total:,} images, {len(names):,} classes · "
    about += shape.get(recipe.data.fit, "training images, stretched")
    drawn = {
        "samples": draw_samples(samples, title, about, lettering),
        "class_distribution": draw_class_counts(names, _class_counts(splits), title, lettering),
        "augmented": draw_augmented(
            _augmented(contents, facts, splits, recipe, names),
            f"{title} under {recipe.name}",
            f"{side} x {side} pixels · {described(recipe.augment)}",
            lettering,
        ),
    }
    paths = {name: folder / f"{name}.png" for name in drawn}
    for name, data in drawn.items():
        durable.write_bytes(paths[name], data)
    notes = []
    if lettering.numbered:
        count = len(lettering.numbered)
        notes.append(
            f"no font here has all characters of {count} class names: the pictures number them, from 0"
        )
    return {name: str(path) for name, path in paths.items()}, notes


def described(section: AugmentSection) -> str:
    """Returns what an augmentation does, in a line for people."""
    details = {"crop_padding": f" ({section.crop_fill})"}
    if section.policy == "rand_augment":
        details["policy"] = f" ({section.policy_operations} of strength {section.policy_magnitude})"
    parts = [
        f"{name.replace('_', ' ')} {str(value).removesuffix('.0')}{details.get(name, '')}"
        for name, value in section.model_dump(exclude=_DETAILS).items()
        if value != AugmentSection.model_fields[name].default
    ]
    return ", ".join(parts) or "no augmentation"


def _usable(contents: Contents, facts: Survey, splits: Splits) -> list[int]:
    """Returns the rows of the source's train part that train and can be read."""
    rows = splits.train.indices[splits.train.indices < len(contents.parts["train"])]
    return [row for row in rows.tolist() if row not in facts["train"].failures]


def _samples(
    part: Pictures, facts: PartSurvey, usable: list[int], names: list[str], fit: Fit
) -> dict[str, list[Pixels]]:
    """Returns training images of each class, the same for the same source; more classes, fewer images."""
    wanted = _COLUMNS if len(names) <= _ROWS else 1
    order = permutation(0, Purpose.SAMPLES, len(usable)).tolist()
    rows: dict[int, list[int]] = {label: [] for label in range(min(len(names), _MOST_CLASSES))}
    labels = part.labels.tolist()
    for row in (usable[place] for place in order):
        label = labels[row]
        if label in rows and len(rows[label]) < wanted:
            rows[label].append(row)
    files = facts.files()
    return {
        names[label]: [
            _pixels(part, row, min(side_of(files[row].width, files[row].height, fit), _SAMPLE_SIDE), fit)
            for row in chosen
        ]
        for label, chosen in rows.items()
    }


def _augmented(
    contents: Contents, facts: Survey, splits: Splits, recipe: Recipe, names: list[str]
) -> list[tuple[str, list[Pixels]]]:
    """Returns training images as stored and as the first epochs have them, with the draws of training.

    Where the recipe mixes images, each is mixed with the next row; in training with any other.
    """
    section, part, side = recipe.augment, contents.parts["train"], splits.input.stored_size
    usable = _usable(contents, facts, splits)
    order = permutation(0, Purpose.SAMPLES, len(usable)).tolist()
    firsts: dict[int, list[int]] = {}
    for place in order:
        firsts.setdefault(int(part.labels[usable[place]]), []).append(usable[place])
    turns = [rows[turn] for turn in range(_AUGMENTED_ROWS) for rows in firsts.values() if turn < len(rows)]
    chosen = sorted(turns[:_AUGMENTED_ROWS], key=lambda row: int(part.labels[row]))
    if not chosen:
        return []
    stored = np.stack([_pixels(part, row, side, recipe.data.fit) for row in chosen])
    # Of whole images, so that none need be decoded again; training's own is of what is stored.
    mean_color = np.rint(np.array(_training_channels(facts, splits).mean) * 255).astype(np.uint8)
    device, samples = torch.device("cpu"), np.array(chosen, np.int64)
    epochs = []
    for epoch in range(_EPOCHS):
        draws = draw(section, side, seed=recipe.train.seed, epoch=epoch, samples=samples, device=device)
        images = augment(torch.from_numpy(stored), draws, section, torch.from_numpy(mean_color))
        if mixes(section):
            mix = draw_mix(section, side, seed=recipe.train.seed, step=epoch)
            images, _ = mixed(images, torch.from_numpy(part.labels[samples]), mix, len(names))
        epochs.append(images.numpy())
    return [
        (names[part.labels[row]], [stored[place], *(images[place] for images in epochs)])
        for place, row in enumerate(chosen)
    ]


def _pixels(part: Pictures, row: int, side: int, fit: Fit) -> Pixels:
    raw = part.read(row)
    if isinstance(raw, bytes):
        return decode_image(raw, side, part.names[row], fit)
    return fit_pixels(raw, side, fit).pixels
