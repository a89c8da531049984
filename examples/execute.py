"""Runs a notebook in an empty folder and writes it with its outputs, without dates and machine facts.

python examples/execute.py examples/first_steps.ipynb [WHERE.ipynb]
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config


def execute(source: Path, target: Path) -> None:
    """Writes `source` with fresh outputs to `target`; raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        work.mkdir()
        # The kernel is spoken to through files in the folder, so that no port is opened.
        sockets = {"transport": "ipc", "ip": str(Path(folder, "kernel"))}
        NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(work)}},
            record_timing=False,
            coalesce_streams=True,
            config=Config({"KernelManager": sockets}),
        ).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, target)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    execute(given[0], given[-1])
