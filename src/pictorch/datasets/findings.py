"""What is wrong or odd about a source of images, in a form that can be listed, counted and raised."""

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pictorch.errors import listed, nearest
from pictorch.images import shown

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found: an 'error' must be mended, a 'warning' should be known before a figure
    is believed, an 'info' is good to know.

    `where` holds every path that it is about (with a reason where they differ), `remedy` what to do.
    """

    severity: Severity
    what: str
    remedy: str
    where: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `data check --json` prints it, with the number of places."""
        return {**asdict(self), "count": len(self.where)}

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


class TrainingFinding(Finding):
    """One that matters only where the images are trained on, and not where they test."""


def differing_classes(
    where: str, part: str, train: Set[str], names: Mapping[str, str], lost: Set[str] = frozenset()
) -> list[Finding]:
    """Returns the classes of a part that train lacks, and those that the part lacks.

    `names` says of each class in the part where it stands; those that train `lost` are told elsewhere.
    """
    findings = []
    if strange := sorted(names.keys() - train - lost):
        hints = listed(f"{shown(name)}{nearest(name, train)}{names[name]}" for name in strange)
        what = f"{where}: classes in {part} but not in train: {hints}"
        findings.append(Finding("error", what, "rename, remove, or add them to train"))
    if lacking := sorted(train - names.keys()):
        what = f"classes in train but not in {part}: {listed(map(shown, lacking))}"
        remedy = f"add images of them to {part}, else nothing there says how well they are known"
        findings.append(Finding("warning", what, remedy))
    return findings
