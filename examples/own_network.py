"""A network, a loss and images of one's own. In the folder of this file, by name:

pictorch train digits --set model.name=own_network:TinyNet --set loss.name=own_network:focal_loss --set loss.label_smoothing=0 --out named
pictorch evaluate named --split test
pictorch export named
pictorch predict named digit.png

and as objects, from Python, which writes digit.png too:

python own_network.py
"""  # noqa: E501

import numpy as np
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import pictorch


class TinyNet(nn.Module):
    """One convolution and one linear layer."""

    def __init__(self, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(16 * (image_size // 2) ** 2, num_classes)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Returns logits (N, num_classes) for normalised images (N, 3, S, S)."""
        features = F.max_pool2d(F.relu(self.conv(images_nchw)), 2).flatten(1)
        logits: Tensor = self.fc(self.dropout(features))
        return logits


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean focal loss (Lin et al., "Focal loss for dense object detection", 2017)."""
    losses = F.cross_entropy(logits, targets, reduction="none")
    return ((1 - (-losses).exp()) ** 2 * losses).mean()


def main() -> None:
    """Trains, judges, exports and asks a network that was made here, on arrays."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # grey (N, 8, 8)
    data = (images, digits.target)
    model = TinyNet(num_classes=10, image_size=8)
    settings = {"loss.label_smoothing": 0.0, "train.epochs": 10}

    result = pictorch.train("digits", model=model, loss=focal_loss, data=data, set=settings)
    print(pictorch.evaluate(result.run, split="test", model=model, data=data).accuracy)
    bundle = pictorch.export(result.run, model=model, data=data)
    Image.fromarray(images[0]).save("digit.png")
    print(pictorch.predict(bundle.path, ["digit.png"])[0].name)


if __name__ == "__main__":
    main()
