"""Exporting: the bundle of a run, or another form of a run's or a bundle's model."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, overload

from pictorch.bundle import Bundle, is_bundle, open_bundle, write_bundle
from pictorch.bundle.bundle import check_target, is_zip_name
from pictorch.errors import RecipeError, unknown
from pictorch.exporting.forms import (
    BUNDLE,
    FORMS,
    ExportedForm,
    FormSource,
    check_form_target,
    check_form_tools,
    make_form,
    unsaid,
)
from pictorch.run_folder import RunFolder
from pictorch.views import NO_VIEWS

if TYPE_CHECKING:
    from pictorch.datasets import SourceRef
    from pictorch.networks import OwnNetwork
    from pictorch.training.console import Console

_BUNDLES = (BUNDLE, "int8")  # the forms that are bundles themselves
_OF_RUNS = (BUNDLE, "mobile")  # the forms that PyTorch writes


@overload
def export(
    source: str | Path | RunFolder,
    *,
    to: Literal["bundle", "int8"] = ...,
    checkpoint: str | None = ...,
    out: str | Path | None = ...,
    data: "SourceRef | None" = ...,
    model: "OwnNetwork | None" = ...,
    views: str = ...,
    console: "Console | None" = ...,
) -> Bundle: ...


@overload
def export(
    source: str | Path | RunFolder,
    *,
    to: str,
    checkpoint: str | None = ...,
    out: str | Path | None = ...,
    data: "SourceRef | None" = ...,
    model: "OwnNetwork | None" = ...,
    views: str = ...,
    console: "Console | None" = ...,
) -> Bundle | ExportedForm: ...


def export(
    source: str | Path | RunFolder,
    *,
    to: str = BUNDLE,
    checkpoint: str | None = None,
    out: str | Path | None = None,
    data: "SourceRef | None" = None,
    model: "OwnNetwork | None" = None,
    views: str = NO_VIEWS,
    console: "Console | None" = None,
) -> Bundle | ExportedForm:
    """Writes the bundle of a run, or the form `to` of a run's or a bundle's model, and returns it.

    `to` is bundle, onnx, int8, web, mobile or triton; bundle and int8 give a Bundle as read back, the
    others an ExportedForm. `out` is a folder, for a bundle also a name ending in .zip (RUN/bundle,
    RUN/exported/<to>, or beside a bundle <its name>-<to>). `data` says where the images lie now; without
    it those of a bundle are not looked for. Of a run, `checkpoint` is best, last or epoch-N (best where
    there is one), `model` the network, where training was given it in Python, and `views` names those of
    each image whose logits the graph averages. Raises DataError for other images than the run's, GateError
    where two forms disagree (and then leaves no file), RecipeError for unknown forms and views and a network
    that a form cannot hold, CheckpointError, ResourceError, RunInUseError, MissingPartError.
    """
    if to not in FORMS:
        raise RecipeError(unknown("form", to, FORMS))
    if not isinstance(source, RunFolder) and is_bundle(source):
        if checkpoint is not None or model is not None or views != NO_VIEWS:
            raise RecipeError(
                f"{source} is a bundle, which holds one checkpoint, its network and its views; "
                "leave out --checkpoint, --views and model="
            )
        return _of_bundle(Path(source), to, out, data, console)
    run = source if isinstance(source, RunFolder) else RunFolder.open(source)
    target = Path(out) if out is not None else run.bundle_path if to == BUNDLE else run.form_path(to)
    _check_target(to, target)
    from pictorch.exporting.run_bundle import make_bundle
    from pictorch.training.console import Console

    console = console or Console("quiet")
    with run.lock(), console.recorded():
        console.keep_log(run.log_path)
        made = make_bundle(
            run, checkpoint=checkpoint, data=data, model=model, views=views, progress=console.line
        )
        if to == BUNDLE:
            return write_bundle(target, made.facts, made.files)
        with TemporaryDirectory() as folder:
            bundle = write_bundle(Path(folder) / BUNDLE, made.facts, made.files)
        named = replace(bundle, path=run.path)
        return make_form(to, FormSource(named, console.line, made.splits, made.network), target)


def _of_bundle(
    path: Path, to: str, out: str | Path | None, data: "SourceRef | None", console: "Console | None"
) -> Bundle | ExportedForm:
    if to in _OF_RUNS:
        others = ", ".join(form for form in FORMS if form not in _OF_RUNS)
        raise RecipeError(
            f"--to {to} needs the run, and {path} is a bundle; give the RUN that it was made from, "
            f"or another form: {others}"
        )
    named = path if path.name.strip(".") else path.resolve()
    beside = named.with_name(f"{named.stem if is_zip_name(named) else named.name}-{to}")
    target = Path(out) if out is not None else beside
    _check_target(to, target)
    bundle, splits = open_bundle(path), None
    progress = console.line if console is not None else unsaid
    if data is not None:
        from pictorch.datasets.of_bundle import splits_of_bundle

        splits = splits_of_bundle(bundle, data, progress)
    return make_form(to, FormSource(bundle, progress, splits), target)


def _check_target(to: str, target: Path) -> None:
    if to in _BUNDLES:
        check_target(target)
    else:
        check_form_target(to, target)
        check_form_tools(to)
