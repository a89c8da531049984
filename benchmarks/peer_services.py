"""The services that serving_peers.py sets beside `pictorch serve`; it starts them.

python benchmarks/peer_services.py tutorial|litserve|litserve-batches BUNDLE --port PORT
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request

from pictorch.bundle import open_bundle
from pictorch.images import decode_image
from pictorch.predictor import load

BATCH_IMAGES = 32


def tutorial(bundle: Path, port: int) -> None:
    """Answers as the tutorial's script does; the weights are drawn, which costs the same."""
    import torch
    from flask import Flask, jsonify, request
    from PIL import Image
    from torchvision import transforms

    from pictorch.networks.tutorials import Cifar10Cnn

    names = open_bundle(bundle).class_names
    model = Cifar10Cnn(len(names), 32).eval()
    transform = transforms.Compose(
        [
            transforms.Resize(32),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ]
    )
    app = Flask("tutorial")

    @app.post("/predict")
    def predict() -> Any:
        image = Image.open(request.files["image"].stream).convert("RGB")
        with torch.no_grad():
            index = int(model(transform(image)[None]).argmax(1))
        return jsonify({"class": names[index], "class_id": index})

    app.run(host="127.0.0.1", port=port)


def litserve(bundle: Path, port: int, most: int) -> None:
    """Answers through LitServe, up to `most` images at a time, without waiting for them."""
    import litserve

    server = litserve.LitServer(Classifier(bundle, most), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("service", choices=("tutorial", "litserve", "litserve-batches"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    if args.service == "tutorial":
        tutorial(args.bundle, args.port)
    else:
        litserve(args.bundle, args.port, BATCH_IMAGES if args.service == "litserve-batches" else 1)


try:
    from litserve import LitAPI
except ModuleNotFoundError:
    LitAPI = object


class Classifier(LitAPI):  # type: ignore[misc]
    """The bundle's model for LitServe, whose workers find this class by its name."""

    def __init__(self, bundle: Path, most: int) -> None:
        super().__init__(max_batch_size=most, batch_timeout=0.0)
        self.bundle = bundle
        self.most = most

    def setup(self, device: str) -> None:
        """Opens the session in the worker."""
        self.predictor = load(self.bundle)

    def decode_request(self, request: Request) -> Any:
        """Returns the pixels of the form's file."""
        return decode_image(request["image"].file.read(), self.predictor.bundle.input.stored_size)

    def batch(self, inputs: list[Any]) -> Any:
        """Returns the images of several requests as one array."""
        return np.stack(inputs)

    def predict(self, images: Any) -> Any:
        """Returns the probabilities of one image or of a batch."""
        return self.predictor.probabilities(images if self.most > 1 else images[np.newaxis])

    def unbatch(self, output: Any) -> list[Any]:
        """Returns a row for each request."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Returns the answer as the tutorial's service gives it."""
        index = int(np.argmax(output))
        return {"class": self.predictor.bundle.class_names[index], "class_id": index}


if __name__ == "__main__":
    main()
