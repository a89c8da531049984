"""bench export: its advice from given rows, and the whole on a bundle that needs no training."""

import json
import signal

import numpy as np
import pytest

from pictorch import bench_export
from pictorch.benchmarking import exported
from pictorch.benchmarking.exported_rows import FormRow, advice
from pictorch.training.console import Console
from tiny_bundle import color_bundle, color_photos

FLOAT = FormRow("float bundle", 4_000_000, images_per_second=100, n=1000, accuracy=0.9, equal_top1=1.0)
INT8 = FormRow("int8 bundle", 1_000_000, images_per_second=200, n=1000, accuracy=0.896, equal_top1=0.995)
OTHER = FormRow("OpenVINO", 1_000_000, images_per_second=300, n=1000, accuracy=0.894, equal_top1=0.999)
WEB = FormRow("web", 500_000, gzip_bytes=100_000)


@pytest.fixture
def photos(tmp_path):
    return color_photos(tmp_path / "photos")


def test_advice_takes_the_smallest_and_the_fastest_of_those_that_keep_the_accuracy():
    assert advice([FLOAT, INT8, OTHER, WEB]) == (
        "Edge: int8 bundle (1.00 MB, 89.60 % of 1,000 validation images); "
        "server: int8 bundle (200 images/s, 89.60 % of 1,000 validation images)."
    )


def test_advice_without_accuracy_goes_by_the_top_classes():
    rows = [FormRow(row.form, row.size_bytes, images_per_second=row.images_per_second, equal_top1=share)
            for row, share in ((FLOAT, 1.0), (INT8, 0.98), (OTHER, 0.995))]  # fmt: skip
    assert advice(rows) == "Edge: OpenVINO (1.00 MB); server: OpenVINO (300 images/s)."


def test_a_row_judges_labels_and_agreement():
    expected = np.float32([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    found = np.float32([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.2, 0.8]])
    row = FormRow("x").judged(expected, found, np.array([0, 0]))
    assert (row.n, row.accuracy, row.compared_n, row.equal_top1) == (2, 0.5, 4, 0.75)


def test_table_of_a_bundle(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(exported, "_WRITTEN", ("onnx", "mobile"))
    bundle = color_bundle(tmp_path / "bundle", photos)
    found = bench_export(bundle.path, data=photos, out=tmp_path / "out", console=Console("quiet"))
    rows = {row.form: row for row in found.rows}
    measured = [rows[name] for name in ("float bundle", "int8 bundle", "onnx")]
    assert all(row.load_seconds > 1e-5 and row.p50_seconds and row.images_per_second for row in measured)
    assert [row.accuracy for row in measured] == [1.0, 1.0, 1.0]
    assert {row.n for row in measured} == {12}
    assert "`pictorch export RUN --to mobile`" in rows["mobile"].reason
    assert any(remark.startswith("mobile: ") for remark in found.remarks)
    assert found.advice.startswith("Edge: ")
    record = json.loads((tmp_path / "out/export.json").read_text())
    assert record["values"][0]["accuracy_interval"][1] == 1.0
    assert str(tmp_path) not in json.dumps(record), "no path of this machine"
    assert (tmp_path / "out/export.csv").read_text().count("\n") == 1 + len(found.rows)
    assert "Advice by rule" in (tmp_path / "out/export.md").read_text()
    assert (tmp_path / "out/int8/bundle.json").is_file()


def test_without_images_there_is_no_int8_and_no_accuracy(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(exported, "_WRITTEN", ())
    bundle = color_bundle(tmp_path / "bundle", photos)
    found = bench_export(bundle.path, out=tmp_path / "out", console=Console("quiet"))
    rows = {row.form: row for row in found.rows}
    assert "--data SOURCE" in rows["int8"].reason
    assert rows["float bundle"].accuracy is None
    assert (rows["float bundle"].compared_n, rows["float bundle"].equal_top1) == (1000, 1.0)


@pytest.mark.slow
def test_every_form_has_a_row(tmp_path, photos):
    bundle = color_bundle(tmp_path / "bundle", photos)
    found = bench_export(bundle.path, data=photos, out=tmp_path / "out", console=Console("quiet"))
    rows = {row.form: row for row in found.rows}
    assert {"float bundle", "int8 bundle", "onnx", "web", "triton", "mobile"} <= rows.keys()
    assert rows["triton"].equal_top1 == 1.0
    assert rows["web"].reason or rows["web"].gzip_bytes < rows["web"].size_bytes


def test_openvino_answers_as_onnx_runtime_does(tmp_path, photos, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setattr(exported, "_WRITTEN", ())
    bundle = color_bundle(tmp_path / "bundle", photos)
    found = bench_export(bundle.path, data=photos, out=tmp_path / "out", console=Console("quiet"))
    rows = {row.form: row for row in found.rows}
    assert rows["OpenVINO, float graph"].equal_top1 == 1.0
    assert rows["OpenVINO, int8 graph"].accuracy == 1.0
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    signal.raise_signal(signal.SIGUSR1)  # where OpenVINO left its signal stack, this process would end
    signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]
