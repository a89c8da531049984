"""docs/cluster.md: its table is what the script calculates, its jobs can be read, its commands exist."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml

from pictorch import cli
from pictorch.cli.parser import build_parser

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/cluster.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", ["simple_net", "cifar10_cnn", "resnet18"])
def test_the_table_is_what_the_script_calculates(name: str) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks/communication.py"))
    row = script["exchange"](name, 32, 10, devices=8, tflops=50.0).row()
    assert row in PAGE.splitlines()


def test_the_exchange_of_a_network_is_that_of_the_formula() -> None:
    exchange = runpy.run_path(str(ROOT / "benchmarks/communication.py"))["exchange"]
    found = exchange("lenet", 32, 10, devices=2, tflops=1.0)
    assert found.step_bytes == 4 * 62_006
    seconds = found.step_bytes / 1.25e9
    batch, image_seconds = found.batches["10 Gbit/s Ethernet"], 6 * found.multiply_adds / 1e12
    assert (batch - 1) * image_seconds < 10 * seconds <= batch * image_seconds


def test_the_jobs_are_yaml_and_hold_one_command_each() -> None:
    train, predict = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml")
    assert train["spec"]["trainer"]["command"][:1] == ["torchrun"]
    (container,) = predict["spec"]["template"]["spec"]["containers"]
    assert "JOB_COMPLETION_INDEX + 1" in container["args"][0]


def test_its_commands_are_those_of_the_parser() -> None:
    text = "\n".join(text for _, text in BLOCKS).replace("\\\n", " ").replace("$i", "1")
    text = text.replace("$SLURM_ARRAY_TASK_ID", "1")
    words = re.findall(r"pictorch ((?:train|predict) [^;\n'\]]*)", text)
    assert len(words) == 6
    parser = build_parser(*cli.ROOMS)
    for line in words:
        parser.parse_args(shlex.split(line))
