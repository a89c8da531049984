"""Every error that a user can cause says what, where and what to do, and what it says to do works."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import pictorch
from messages import (
    cases_bench,
    cases_bundles,
    cases_cifar10,
    cases_commands,
    cases_data,
    cases_forms,
    cases_forms_onnx,
    cases_groups,
    cases_import,
    cases_int8,
    cases_lists,
    cases_mobile,
    cases_own,
    cases_prediction_files,
    cases_recipe,
    cases_results,
    cases_runs,
    cases_serving,
    cases_web,
    cases_weights,
    material,
)
from messages.case import Case, check_message, succeeds, through_cli, through_python
from messages.sites import Site, sites
from messages.watch import watching
from pictorch import cli
from pictorch.serving.app import create_app

CASES: list[Case] = [
    *cases_commands.CASES,
    *cases_recipe.CASES,
    *cases_data.CASES,
    *cases_cifar10.CASES,
    *cases_forms.CASES,
    *cases_import.CASES,
    *cases_forms_onnx.CASES,
    *cases_int8.CASES,
    *cases_lists.CASES,
    *cases_runs.CASES,
    *cases_groups.CASES,
    *cases_bundles.CASES,
    *cases_own.CASES,
    *cases_mobile.CASES,
    *cases_prediction_files.CASES,
    *cases_results.CASES,
    *cases_weights.CASES,
    *cases_web.CASES,
    *cases_bench.CASES,
    *cases_serving.CASES,
]
# Sites that no case can provoke, with the reason.
EXCUSED = {
    """raise AttributeError(f"module 'pictorch' has no attribute {name!r}")""": "as of any module",
    r"""raise ValueError("\n".join(problems))""": "pydantic hands its lines on, which three cases provoke",
    "raise _ClientLeftError": "nobody is there to hear it; tests/serving lets clients leave",
    "raise _ClientLeftError from None": "as above",
    'raise (DataError if "images" in name else RecipeError)( f"process {self.rank} on {host} has {name} '
    '{brief(own.get(name))}, the first process has " f"{brief(first.get(name))}; start all with the same '
    'command, recipe, images and versions" )': "tests/training/test_distributed.py has two processes do it",
    "raise ending from error": "as above",
    'raise RecipeError( f"train.kernels: own is not the same in process {group.rank} on '
    '{socket.gethostname()}: {fault}; " "give `--set train.kernels=library`" )': "tests/training/"
    "test_group_convolutions.py has two processes do it",
    """raise SaidElsewhereError("the host's first process says it", RecipeError.exit_code)""": "never shown",
    'raise DataError(f"{shown(path)} is no regular file; remove it or name the others")': "one of many "
    "images has no answer, in tests/predictor/test_image_inputs.py",
    "raise ConnectionResetError": "bench serving counts it as a request without an answer",
}
_REASONS = {
    "RuntimeError",
    "ValueError",
    "TypeError",
    "yaml.YAMLError",
    "pickle.UnpicklingError",
    "urllib.error.HTTPError",
}
SAID: set[str] = set()
PROVOKED: set[Site] = set()
RAN: set[str] = set()
# What two runs of one command have each of their own: stamps in paths, ports, free and used memory.
_OWN = re.compile(r"[0-9a-f]{32}|(?<=127\.0\.0\.1:)\d+|[\d,]+(?= MB free)|(?<=peak )[\d.]+")


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
each_slow_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case.slow], ids=lambda case: case.name.replace(" ", "-")
)


@each_case
def test_message(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The slow ones come here through one door, and their remedies wait for the next test."""
    doors = ("cli",) if case.slow and not case.only else ("python", "cli")
    message = provoke(case, doors, tmp_path, monkeypatch, capsys)
    if not case.slow:
        case.remedy(case, message)
    RAN.add(case.name)


@pytest.mark.slow
@each_slow_case
def test_slow_message(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = provoke(case, ("python", "cli"), tmp_path, monkeypatch, capsys)
    case.remedy(case, message)


def provoke(
    case: Case,
    doors: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Returns the message, which is the same through all doors."""
    said = {}
    for door in doors:
        if case.only and not case.only.startswith(f"{door}: "):
            continue
        (tmp_path / door).mkdir()
        monkeypatch.chdir(tmp_path / door)
        case.setup()
        message, found = through_cli(case, capsys) if door == "cli" else through_python(case)
        said[door] = _OWN.sub("#", message.replace(str(tmp_path / door), "."))
        PROVOKED.update(found)
        SAID.add(message)
    assert len(set(said.values())) == 1, f"the doors differ: {said}"
    return message


@pytest.mark.parametrize("finding", cases_data.FINDINGS, ids=lambda finding: finding[0].replace(" ", "-"))
def test_finding(
    finding: tuple[str, str, Callable[[], object], Callable[[], object]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What only `data check` says: it ends with 3, names the place and the remedy, and then with 0."""
    name, names, spoil, mend = finding
    monkeypatch.chdir(tmp_path)
    spoil()
    with watching() as watch:
        assert cli.main(["data", "check", "photos", "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)["findings"]
    (error,) = [finding for finding in shown if finding["severity"] == "error"]
    assert names in " ".join([error["what"], *error["where"]])
    assert error["remedy"]
    result = pictorch.data_check("photos")
    assert [str(finding) for finding in result.findings] == [f"{f['what']}; {f['remedy']}" for f in shown]
    PROVOKED.update(watch.behind(f"{error['what']}; {error['remedy']}"))
    mend()
    succeeds(["data", "check", "photos"])
    RAN.add(name)


@pytest.mark.parametrize("refusal", cases_serving.REFUSALS, ids=lambda each: each.name.replace(" ", "-"))
def test_refusal(refusal: cases_serving.Refusal) -> None:
    """A refused request: the message says what, where and what to do, and the next request is answered."""
    predictor = pictorch.load(material.bundle(), threads=1)
    with TestClient(create_app(predictor, refusal.limits), raise_server_exceptions=False) as client:
        with watching() as watch:
            answer = refusal.ask(client)
        said = answer.json()["error"]
        said = {"code": "", "message": said} if isinstance(said, str) else said
        assert (answer.status_code, said["code"]) == (refusal.status, refusal.code)
        assert answer.headers["x-request-id"] == said.get("request_id", answer.headers["x-request-id"])
        check_message(refusal, said["message"])
        PROVOKED.update(watch.behind(said["message"]))
        assert client.get("/v2/health/ready").status_code == 200
    RAN.add(refusal.name)


def test_every_site_is_provoked() -> None:
    """Runs last in this file, so that one worker has provoked them all.

    What is raised as a plain Python error is only the reason in another message, which has to be said.
    """
    others = {name for name, *_ in cases_data.FINDINGS} | {each.name for each in cases_serving.REFUSALS}
    if ({case.name for case in CASES} | others) - RAN:
        pytest.skip("only some of the cases ran")
    missing = [
        str(site)
        for site in sites()
        if site not in PROVOKED
        and site.source not in EXCUSED
        and not (site.kind in _REASONS and any(site.words in message for message in SAID))
    ]
    assert not missing, "provoked by no case:\n" + "\n".join(missing)


def test_few_remedies_are_only_told() -> None:
    """Each has its reason; a new one has to be argued for here."""
    told = {case.name: case.remedy.reason for case in CASES if hasattr(case.remedy, "reason")}
    assert len(told) <= 13, told
    assert all(len(reason) > 10 for reason in told.values())
