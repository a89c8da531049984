"""Weights of others put into a network: matched by name and shape, the two ends adapted where asked."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pictorch.errors import CheckpointError
from pictorch.networks.ends import stem_and_head
from pictorch.networks.imagenet import IMAGENET, imagenet_weights
from pictorch.networks.state_dicts import StateDict, brief, read_state_dict, refused_kind
from pictorch.recipe import ModelSection

Status = Literal["loaded", "adapted", "new", "unused"]
Treatment = Literal["adapt", "new"]
ClassNames = tuple[tuple[str, ...] | None, tuple[str, ...] | None]  # of the weights, of the data

_LEAST_SHARE = 0.5
# Of batch norms, which use it for nothing here, and of torch's averages of weights.
_COUNTERS = ("num_batches_tracked", "n_averaged")

# What DataParallel, AveragedModel and torch.compile put before each name, and how many at most.
_WRAPPERS, _MOST_WRAPPERS = ("module.", "_orig_mod."), 4


@dataclass(frozen=True)
class WeightsTable:
    """What became of every tensor of the network, and of those of the file that no layer took.

    `share` is that of the values of the network, less the layers that were asked to be new.
    """

    rows: tuple[tuple[str, Status], ...]
    share: float

    @property
    def counts(self) -> dict[str, int]:
        """How many tensors have each status, of those that occur."""
        found = Counter(status for _, status in self.rows)
        return {status: found[status] for status in ("loaded", "adapted", "new", "unused") if found[status]}

    def in_words(self) -> str:
        """Returns the counts in one line."""
        counts = ", ".join(f"{number} {status}" for status, number in self.counts.items())
        return f"{counts} ({100 * self.share:.1f} % of the values)"

    def to_json(self) -> dict[str, Any]:
        """Returns the counts, the share, and the rows that are not simply loaded."""
        odd = [[name, status] for name, status in self.rows if status != "loaded"]
        return {"counts": self.counts, "share": self.share, "rows": odd}


@dataclass
class _Match:
    """What would be copied, before anything is; `problem` is why the head's rows fit no class."""

    taken: dict[str, Tensor] = field(default_factory=dict)
    rows: list[tuple[str, Status]] = field(default_factory=list)
    problem: str | None = None

    def add(self, name: str, status: Status, value: Tensor | None = None) -> None:
        self.rows.append((brief(name), status))
        if value is not None:
            self.taken[name] = value


def find_weights(model: ModelSection, progress: Callable[[str], None]) -> StateDict | None:
    """Returns the weights that model.weights names, None where it names none; raises UserErrors."""
    if model.weights == IMAGENET:
        return imagenet_weights(model.name, progress)
    return None if model.weights is None else read_state_dict(model.weights)


def load_weights(
    network: nn.Module,
    stored: StateDict,
    *,
    stem: Treatment = "adapt",
    head: Treatment = "adapt",
    class_names: tuple[str, ...] | None = None,
) -> WeightsTable:
    """Copies into the network what fits by name and shape, and returns what became of each tensor.

    An end that is `new` stays as it was drawn. A stem that is adapted is resampled where its kernel has
    another size, so that an even image gives the same answer. A head that is adapted takes the rows of
    the classes that have the same name in `class_names`, where `stored` knows them too, else all rows
    where they are as many. Raises CheckpointError, before anything is changed, when less than half of the
    values would be loaded or the head fits no class.
    """
    own, given = network.state_dict(), _by_our_names(network, stored.tensors)
    ends = stem_and_head(network)
    asked = dict(zip(ends, (stem, head), strict=True))
    match = _matched(own, given, asked, ends, (stored.class_names, class_names))
    left_out = {layer for layer, treatment in asked.items() if treatment == "new"}
    table = WeightsTable(tuple(match.rows), _share(own, match.taken, left_out))
    others = _share(own, match.taken, left_out | {ends[1]}) if match.problem else table.share
    if others < _LEAST_SHARE:
        raise CheckpointError(
            f"{stored.origin} has {others:.0%} of the network's values only: "
            f"{difference(network, stored, left_out)}; give the model.name that was saved there"
        )
    if match.problem:
        raise CheckpointError(
            f"{stored.origin}: {match.problem}; draw the last layer anew with `--set model.head_weights=new`"
        )
    for name, value in match.taken.items():
        if own[name].is_floating_point() and not given[name].is_floating_point():
            raise refused_kind(stored.origin, name, str(given[name].dtype).removeprefix("torch."))
        if not value.isfinite().all():
            raise CheckpointError(
                f"{stored.origin}: {name} has values that are not finite; give an earlier checkpoint"
            )
    with torch.no_grad():
        for name, value in match.taken.items():
            own[name].copy_(value)
    return table


def difference(network: nn.Module, stored: StateDict, left_out: Collection[str] = frozenset()) -> str | None:
    """Returns, in words, the first tensor that the two have not alike, None where there is none.

    `left_out` are layers that are not looked at.
    """
    own, given = network.state_dict(), _by_our_names(network, stored.tensors)
    for name in (name for name in (*own, *given) if _layer(name) not in left_out and not _counts(name)):
        if name not in given:
            return f"it has no {brief(name)}"
        if name not in own:
            return f"the network has no {brief(name)}"
        if own[name].shape != given[name].shape:
            there, here = (brief(str(tuple(each[name].shape)), 30) for each in (given, own))
            return f"{brief(name)} is {there} there and {here} in the network"
    return None


def _matched(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    asked: Mapping[str, Treatment],
    ends: tuple[str, str],
    class_names: ClassNames,
) -> _Match:
    match, (stem, head) = _Match(), ends
    for name, tensor in own.items():
        value, layer = given.get(name), _layer(name)
        if value is None or asked.get(layer) == "new":
            if not _counts(name):
                match.add(name, "new")
        elif layer == head and value.shape[1:] == tensor.shape[1:]:
            _match_head(match, name, tensor, value, class_names)
        elif value.shape == tensor.shape:
            match.add(name, "loaded", value)
        elif layer == stem and _is_resampled(value, tensor):
            match.add(name, "adapted", _resampled(value, tensor.shape[-1]))
        else:
            match.add(name, "new")
    for name in given:
        if name not in match.taken and not _counts(name):
            match.add(name, "unused")
    return match


def _match_head(match: _Match, name: str, tensor: Tensor, value: Tensor, class_names: ClassNames) -> None:
    """Takes the rows of the classes that both know, or all rows where no names are known."""
    there, here = class_names
    if there is None or here is None or (len(value), len(tensor)) != (len(there), len(here)):
        if len(value) == len(tensor):
            return match.add(name, "loaded", value)
        match.problem = f"its last layer has {len(value)} classes, and the data {len(tensor)}"
        return match.add(name, "new")
    if there == here:
        return match.add(name, "loaded", value)
    once = [each for each, number in Counter(there).items() if number == 1]
    shared = [each for each in here if each in once]
    if not shared:
        match.problem = f"none of its {len(there)} classes has the name of one of the data's {len(here)}"
        return match.add(name, "new")
    adapted = tensor.detach().cpu().clone()
    rows = [there.index(each) for each in shared]
    adapted[[here.index(each) for each in shared]] = value[rows].to(adapted.dtype)
    return match.add(name, "adapted", adapted)


def _by_our_names(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors by the names that the network knows most of: without wrappers' prefixes or with.

    A prefix goes only where all names have it, so that no two become one.
    """
    own, forms = network.state_dict(), [_with_our_layers(network, tensors)]
    for _ in range(_MOST_WRAPPERS):
        names = [name for name in tensors if not _counts(name)]
        prefix = next((w for w in _WRAPPERS if names and all(n.startswith(w) for n in names)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        forms.append(_with_our_layers(network, tensors))
    return max(forms, key=lambda form: len(own.keys() & form.keys()))


def _with_our_layers(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors with the names of layers that a network also goes by made our own."""
    ours = getattr(network, "other_names", {})
    layers = {layer for layer, _ in network.named_modules()}
    renamed = {}
    for name, value in tensors.items():
        layer, dot, last = name.rpartition(".")
        new = f"{ours[layer]}{dot}{last}" if layer in ours and layer not in layers else name
        renamed[name if new in tensors else new] = value
    return renamed


def _share(own: Mapping[str, Tensor], taken: Mapping[str, Tensor], left_out: set[str]) -> float:
    """Returns which part of the network's values is taken, less the layers that are left out."""
    sizes = {n: t.numel() for n, t in own.items() if _layer(n) not in left_out and not _counts(n)}
    return sum(size for name, size in sizes.items() if name in taken) / max(sum(sizes.values()), 1)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _counts(name: str) -> bool:
    return name.rpartition(".")[2] in _COUNTERS


def _is_resampled(value: Tensor, tensor: Tensor) -> bool:
    """Returns whether two stems differ in the size of their square kernels only."""
    square = all(each.ndim == 4 and each.shape[2] == each.shape[3] for each in (value, tensor))
    return square and value.shape[:2] == tensor.shape[:2]


def _resampled(kernels: Tensor, side: int) -> Tensor:
    """Returns (O, I, side, side) kernels: each new tap sums the share of the old ones that it covers."""
    old = kernels.shape[-1]
    edges, taps = torch.arange(side + 1) * old / side, torch.arange(old)
    upper = torch.minimum(edges[1:, None], taps[None] + 1)
    shares = (upper - torch.maximum(edges[:-1, None], taps[None])).clamp(min=0)
    return shares @ kernels.float() @ shares.T
