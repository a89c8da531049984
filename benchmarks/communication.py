"""How large a batch each device needs before the exchange of gradients costs little: a calculation.

A process of N sends and receives 2 (N - 1) / N x 4 bytes x parameters a step in a ring all-reduce
(P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009), and
computes 6 operations for each multiply-add of an image: 2 forward, 4 backward. Nothing is measured here;
latency and input are left out:

    python benchmarks/communication.py [--devices 8] [--tflops 50] [--json]
"""

import argparse
import json
import math
from dataclasses import dataclass

import pictorch
from pictorch.formats import count, short_count

# Nominal bytes a second in each direction.
LINKS = {"10 Gbit/s Ethernet": 1.25e9, "PCIe 4 x16": 31.5e9, "NVLink 4": 450e9}
NETWORKS = (
    ("simple_net", 32, 10),
    ("lenet", 32, 10),
    ("small_bn_cnn", 32, 10),
    ("cifar10_cnn", 32, 10),
    ("speednet", 32, 10),
    ("mobilenet_v2", 32, 10),
    ("efficientnet_b0", 32, 10),
    ("alexnet", 32, 10),
    ("vgg11_bn", 32, 10),
    ("resnet18", 32, 10),
    ("resnet34", 32, 10),
    ("resnet18", 224, 1000),
)
SMALL_SHARE = 0.1  # of the computing time


@dataclass(frozen=True)
class Exchange:
    """What one network asks of links and devices; `batches` are images a device for each of LINKS."""

    name: str
    image_size: int
    parameters: int
    multiply_adds: int
    step_bytes: float
    batches: dict[str, int]

    def row(self) -> str:
        """Returns the row of docs/cluster.md."""
        name = f"`{self.name}`" + (f", {self.image_size} pixels" if self.image_size != 32 else "")
        sizes = [count(self.parameters), short_count(self.multiply_adds), f"{self.step_bytes / 1e6:.1f}"]
        return f"| {' | '.join([name, *sizes, *(f'{batch:,}' for batch in self.batches.values())])} |"


def exchange(name: str, image_size: int, num_classes: int, devices: int, tflops: float) -> Exchange:
    """Returns the bytes of a step, and the smallest batch whose computing they take SMALL_SHARE of."""
    (network,) = pictorch.models(name, num_classes=num_classes, image_size=image_size)
    step_bytes = 2 * (devices - 1) / devices * 4 * network["parameters"]
    image_seconds = 6 * network["multiply_adds"] / (tflops * 1e12)
    batches = {
        link: math.ceil(step_bytes / bytes_per_second / (SMALL_SHARE * image_seconds))
        for link, bytes_per_second in LINKS.items()
    }
    return Exchange(name, image_size, network["parameters"], network["multiply_adds"], step_bytes, batches)


def main() -> None:
    """Prints the table of docs/cluster.md, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--tflops", type=float, default=50.0, help="10^12 operations/s of a device")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [exchange(*network, args.devices, args.tflops) for network in NETWORKS]
    if args.json:
        print(json.dumps([vars(row) for row in rows], indent=1))
        return
    heads = ["network", "parameters", "multiply-adds an image", "MB a step", *LINKS]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    print("\n".join(row.row() for row in rows))


if __name__ == "__main__":
    main()
