"""The whole way through on a small real data set, in under a minute."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pictorch.datasets import load_splits
from pictorch.evaluation.evaluate import evaluate
from pictorch.exporting.export import export
from pictorch.predictor import Prediction, Predictor
from pictorch.recipe.files import load_recipe
from pictorch.reporting.report import report
from pictorch.run_folder import Evaluation, RunFolder
from pictorch.training.console import Console
from pictorch.training.start import train

_SHOWN = 3


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, and where it lies."""

    run: str
    evaluation: Evaluation
    bundle: str
    report: str
    predictions: tuple[Prediction, ...]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the result as `demo --json` prints it."""
        return {
            **asdict(self),
            "evaluation": self.evaluation.to_json(),
            "predictions": [prediction.to_json() for prediction in self.predictions],
        }


def demo(*, out: str | Path | None = None, console: Console | None = None) -> DemoResult:
    """Trains the recipe `digits`, evaluates it on its test part, exports, predicts and reports."""
    console = console or Console()
    run = train("digits", out=out, console=console).run
    evaluation = evaluate(run, split="test", console=console)
    bundle = export(run, console=console)
    splits = load_splits(load_recipe("digits").data)
    assert splits.test is not None
    rows = splits.test.indices[:_SHOWN]
    predictions = Predictor(bundle)([splits.test.images[row] for row in rows], top=1)
    return DemoResult(
        run=run,
        evaluation=evaluation,
        bundle=str(RunFolder.open(run).bundle_path),
        report=str(report(run)),
        predictions=tuple(predictions),
        labels=tuple(splits.class_names[splits.test.labels[row]] for row in rows),
    )
