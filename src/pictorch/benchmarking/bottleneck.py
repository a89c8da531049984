"""Which part of a training step is the one to mend, by a rule that only looks at figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pictorch.formats import percent
from pictorch.host import physical_cores
from pictorch.recipe import Recipe

LARGE_SHARE = 1 / 3

_FUSED = ("sgd", "adam", "adamw")
_COSTLY_AUGMENTS = {
    "policy": "none", "rotation": 0, "hue": 0, "saturation": 0, "contrast": 0, "brightness": 0,
    "resized_crop": "null", "cutmix": 0, "mixup": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of a step: milliseconds a step, its share of the step, and the bytes that it allocates.

    `allocated_bytes` is what its operators ask for in a step, `kept_bytes` what of it is left at the part's
    end (negative where it frees more). `outside_share` is the share of its time in which no operator of
    torch runs, `busiest` the operator with the most time of its own, '' where there is none.
    """

    name: str
    milliseconds: float
    share: float
    allocated_bytes: int
    kept_bytes: int
    outside_share: float
    busiest: str


@dataclass(frozen=True)
class Operator:
    """An operator of torch: calls and own milliseconds a step, share of all operators' own time."""

    name: str
    calls: float
    milliseconds: float
    share: float


@dataclass(frozen=True)
class Wait:
    """Calls of `.item()` a step in the network and the loss, and the line that most of them come from."""

    calls: float
    place: str | None


@dataclass(frozen=True)
class Bottleneck:
    """The part of a step to mend first, in a sentence with its remedy."""

    part: str
    sentence: str


def find_bottleneck(
    parts: Sequence[Part], operators: Sequence[Operator], waits: Wait, recipe: Recipe
) -> Bottleneck:
    """Returns what holds a step back, by the first of these that is true.

    1. Data, optimizer or rest take LARGE_SHARE of the step or more: the largest of them.
    2. The network or the loss call `.item()`, for which a GPU ends all work before it goes on.
    3. Code of the network or the loss outside torch's operators takes LARGE_SHARE of the step or more.
    4. The network, forward and backward: its largest operator.
    """
    by_name = {part.name: part for part in parts}
    largest = max((by_name[name] for name in ("data", "optimizer", "rest")), key=lambda part: part.share)
    if largest.share >= LARGE_SHARE:
        cause, remedy = _REASONS[largest.name](largest, recipe)
        return Bottleneck(largest.name, f"{cause} {_time(largest)}; {remedy}")
    if waits.calls > 0:
        return Bottleneck("item", _item_sentence(waits))
    network = forward, _ = by_name["forward"], by_name["backward"]
    if forward.share * forward.outside_share >= LARGE_SHARE:
        return Bottleneck(
            "forward",
            "What the network or the loss does outside torch's operators takes "
            f"{percent(forward.share * forward.outside_share, 0)} of a step "
            f"({forward.milliseconds * forward.outside_share:.3g} ms); let operators on whole batches do it, "
            "or do it before training",
        )
    milliseconds, share = (sum(getattr(part, key) for part in network) for key in ("milliseconds", "share"))
    first = operators[0]
    return Bottleneck(
        "network",
        f"The network itself takes {percent(share, 0)} of a step ({milliseconds:.3g} ms), as it should be, "
        f"and {first.name} {percent(first.share, 0)} of all operators' time; {_network_remedy(recipe)}",
    )


def _time(part: Part) -> str:
    return f"{percent(part.share, 0)} of a step ({part.milliseconds:.3g} ms)"


def _data(part: Part, recipe: Recipe) -> tuple[str, str]:
    if part.outside_share > 0.5:  # torch takes no part in reading images
        return "Getting the batch, mostly waiting for its images, takes", (
            "let them come from memory or a fast local disk (`pictorch doctor` shows where the decoded "
            "images lie and what is free)"
        )
    used = [name for name in _COSTLY_AUGMENTS if _is_used(recipe, name)]
    if not used:
        return "Cutting and augmenting the batch takes", (
            "beside so small a network it cannot take less: a larger `--set model.name` costs little more"
        )
    return "Augmenting the batch takes", (
        f"try what it costs to leave {used[0]} out: `--set augment.{used[0]}={_COSTLY_AUGMENTS[used[0]]}`"
    )


def _is_used(recipe: Recipe, name: str) -> bool:
    return bool(getattr(recipe.augment, name) != type(recipe.augment).model_fields[name].default)


def _optimizer(part: Part, recipe: Recipe) -> tuple[str, str]:
    name = recipe.optimizer.name
    if name not in _FUSED:
        remedy = "`--set optimizer.name=sgd` (with a learning rate of its own) moves all weights at once"
    else:
        remedy = f"{_larger_batch(recipe)} makes half as many of these updates an epoch"
    return f"The optimiser {name}, with what belongs to its update, takes", remedy


def _rest(part: Part, recipe: Recipe) -> tuple[str, str]:
    return "What stands around the work, Python and the loop, takes", (
        f"{_larger_batch(recipe)} does it half as often an epoch"
    )


_REASONS = {"data": _data, "optimizer": _optimizer, "rest": _rest}


def _larger_batch(recipe: Recipe) -> str:
    return f"`--set train.batch_size={2 * recipe.train.batch_size}`"


def _item_sentence(waits: Wait) -> str:
    place = f" at {waits.place}" if waits.place else ""
    often = "once" if waits.calls == 1 else f"{waits.calls:.3g} times"
    return (
        f"The network or the loss calls .item(){place}, {often} a step, at which a GPU ends all its work "
        "before it goes on; keep the value as a tensor there (`.detach()`)"
    )


def _network_remedy(recipe: Recipe) -> str:
    train = recipe.train
    settings: Mapping[str, bool] = {
        "train.precision=auto": train.precision in ("float32", "float64"),
        "train.channels_last=auto": train.channels_last is False,
        "train.threads=auto": train.threads != "auto" and train.threads < physical_cores(),
    }
    slow = [setting for setting, is_slow in settings.items() if is_slow]
    if slow:
        return f"`--set {slow[0]}` may make it faster"
    return "only a smaller network, smaller images or a faster device make it faster"
