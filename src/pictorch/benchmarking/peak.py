"""The most that this machine multiplies: a large product of matrices, timed in a process of its own."""

import statistics
import subprocess
import sys
import time

import torch

_SIDES = {"cpu": 2048, "cuda": 8192}
_USUAL_SIDE = 4096
_WARM_UPS, _ROUNDS = 3, 9
_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def measured_peak(device: str, precision: str, threads: int) -> float:
    """Returns the floating-point operations a second of a square matrix product, median of nine.

    The process has as many threads as are given and ends before this returns. On CUDA float32 is
    multiplied as cuDNN's convolutions are, in TF32 where they are allowed to.
    """
    words = ["-m", "pictorch.benchmarking.peak", device, precision, str(threads)]
    done = subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _rate(device: str, precision: str, threads: int) -> float:
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    side = _SIDES.get(device, _USUAL_SIDE)
    matrix = torch.randn((side, side), device=device).to(_DTYPES[precision])
    product = torch.empty_like(matrix)
    seconds = []
    for _ in range(_WARM_UPS + _ROUNDS):
        start = time.perf_counter()
        torch.mm(matrix, matrix, out=product)
        product[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(seconds[_WARM_UPS:])


if __name__ == "__main__":
    print(_rate(sys.argv[1], sys.argv[2], int(sys.argv[3])))
