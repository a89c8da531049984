"""The weights that a training starts from where the recipe names some: tried first, then taken."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pictorch.errors import CheckpointError
from pictorch.networks import Classifier
from pictorch.networks.state_dicts import StateDict, brief
from pictorch.networks.weights import WeightsTable, difference, find_weights, load_weights
from pictorch.recipe import ModelSection
from pictorch.run_folder import RunFolder
from pictorch.training.console import Console
from pictorch.training.session import Session


@dataclass(frozen=True)
class FirstWeights:
    """Weights that fit the network of a recipe, and what becomes of each tensor."""

    source: str
    stored: StateDict
    table: WeightsTable

    def to_json(self) -> dict[str, Any]:
        """Returns the record in run.json: where they came from, and what was not simply loaded."""
        stored = self.stored
        facts: dict[str, Any] = {"source": self.source, "origin": stored.origin, "sha256": stored.sha256}
        facts |= {"mean": stored.mean, "std": stored.std, "summary": self.table.in_words()}
        return {**facts, **self.table.to_json()}

    def show(self, console: Console) -> None:
        """Shows them in one line; each tensor is kept in log.txt, and shown where the console is verbose."""
        console.line(f"weights {self.stored.origin}: {self.table.in_words()}")
        for name, status in self.table.rows:
            (console.line if console.is_verbose else console.log)(f"        {name} {status}")


def try_weights(
    model: ModelSection,
    network: Classifier,
    stored: StateDict | None,
    class_names: tuple[str, ...],
    *,
    whole: bool = False,
) -> FirstWeights | None:
    """Puts the weights that model.weights names, `stored`, into a network; None where it names none.

    With `whole`, no tensor may be new, adapted or left over. Raises CheckpointError.
    """
    if stored is None or model.weights is None:
        return None
    if whole:
        _check_whole(model, network, stored, class_names)
    return FirstWeights(model.weights, stored, _load(model, network, stored, class_names))


def take_weights(
    session: Session, class_names: tuple[str, ...], run: RunFolder, progress: Callable[[str], None]
) -> None:
    """Puts the weights into a session that begins, its average too, and their normalisation where it is auto.

    Raises CheckpointError where they are not those that the run was begun with.
    """
    model, network = session.recipe.model, session.network
    stored = find_weights(model, progress)
    if stored is None:
        return
    recorded = run.facts().get("weights") or {}
    if recorded.get("sha256", stored.sha256) != stored.sha256:
        raise CheckpointError(
            f"{stored.origin} has changed since {run.path} was begun with it (its sha256 differs); "
            "put it back, or train again into a new --out"
        )
    _load(model, network, stored, class_names)
    if stored.mean is not None and stored.std is not None:
        network.normalization.fill(
            stored.mean if model.mean == "auto" else model.mean,
            stored.std if model.std == "auto" else model.std,
        )
    if session.average is not None:
        session.average.network.load_state_dict(network.state_dict())


def _load(
    model: ModelSection, network: Classifier, stored: StateDict, class_names: tuple[str, ...]
) -> WeightsTable:
    return load_weights(
        network.network, stored, stem=model.stem_weights, head=model.head_weights, class_names=class_names
    )


def _check_whole(
    model: ModelSection, network: Classifier, stored: StateDict, class_names: tuple[str, ...]
) -> None:
    odd = difference(network.network, stored)
    if odd is None and stored.class_names not in (None, class_names):
        odd = f"its classes are {brief(', '.join(stored.class_names or ()), 80)}"
    if odd is not None:
        raise CheckpointError(
            f"{stored.origin} does not fit {model.name} for {len(class_names)} classes: {odd}; "
            "give the --model and --data that it was trained with"
        )
