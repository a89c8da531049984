"""Gives tests a module of the user's own in the working folder, imported anew in each of them."""

import sys
from pathlib import Path

import pytest

# A network whose weights are made at the first batch, and cross-entropy.
TEXT = """\
import torch.nn.functional as F
from torch import nn


class OwnNetOfMine(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(8 * ((image_size + 1) // 2) ** 2, num_classes)

    def forward(self, images_nchw):
        return self.fc(self.drop(F.relu(self.conv(images_nchw)).flatten(1)))


def loss_of_mine(logits, targets):
    return F.cross_entropy(logits, targets, label_smoothing=0.05)
"""


def write_own_net(monkeypatch: pytest.MonkeyPatch, text: str = TEXT, name: str = "own_net_of_mine") -> Path:
    """Writes NAME.py into the working folder; path and modules are put back after the test.

    As for the program `pictorch`, the working folder is not on the path.
    """
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setitem(sys.modules, name, None)  # so that it is removed again afterwards
    monkeypatch.delitem(sys.modules, name)
    path = Path(f"{name}.py")
    path.write_text(text)
    return path.resolve()
