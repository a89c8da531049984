"""What is wrong or odd about a source of images, in a form that can be listed, counted and raised."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

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
