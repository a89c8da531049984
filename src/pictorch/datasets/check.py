"""`data check`: everything that is wrong or odd about images, before anything is trained on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pictorch import notebook
from pictorch.datasets.class_findings import class_findings, duplicate_findings
from pictorch.datasets.contents import LineConsole, progress_of
from pictorch.datasets.file_findings import file_findings
from pictorch.datasets.findings import Finding, Severity
from pictorch.datasets.sources import find_source, fitting_recipe
from pictorch.datasets.survey import survey
from pictorch.images import shown

_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class DataCheck:
    """What was found, errors first; `recipe` is the packaged one that fits the source.

    `counts` holds the images of each part, broken ones included.
    """

    source: str
    origin: str
    counts: dict[str, int]
    class_names: tuple[str, ...]
    findings: tuple[Finding, ...]
    recipe: str

    @property
    def must_mend(self) -> bool:
        """Whether there is an error: training would refuse the images, or its figure be wrong."""
        return self.count("error") > 0

    def count(self, severity: Severity) -> int:
        """Returns the number of findings of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Returns the record as `data check --json` prints it."""
        findings = [finding.to_json() for finding in self.findings]
        return {**vars(self), "findings": findings, "must_mend": self.must_mend}

    def _repr_html_(self) -> str:
        if not self.findings:
            return notebook.card(f"{self.origin}: nothing is wrong")
        found = [
            {"": one.severity, "what": one.what, "to do": one.remedy, "first of them": "".join(one.where[:1])}
            for one in self.findings
        ]
        return notebook.card(self.origin, notebook.rows("Findings", found, left=tuple(found[0])))


def data_check(
    source: str | Path, *, root: str | Path | None = None, console: LineConsole | None = None
) -> DataCheck:
    """Returns what is wrong or odd about the images of a source; reads every file and changes none.

    The relative paths of a list start from the folder `root`, its own where that is None.

    Raises DataError where there is no such source, or where it is an archive that cannot be opened.
    """
    progress = progress_of(console)
    found = find_source(str(source), progress, root=None if root is None else str(root))
    with found.open() as contents:
        facts = survey(found, contents, progress)
        findings = [
            *contents.findings,
            *file_findings(contents, facts),
            *class_findings(contents),
            *duplicate_findings(contents, facts),
        ]
    return DataCheck(
        source=str(source),
        origin=found.origin,
        counts={name: len(part) for name, part in contents.parts.items()},
        class_names=tuple(shown(name) for name in contents.class_names),
        findings=tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity))),
        recipe=fitting_recipe(found, contents),
    )
