"""The Triton form: a model repository for Triton Inference Server, and for KServe, which runs it too."""

import shlex
from functools import partial
from pathlib import Path

from pictorch.bundle.bundle import MODEL, Bundle
from pictorch.bundle.onnx_model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from pictorch.exporting.forms import ExportedForm, FormSource, check_agreement, write_form
from pictorch.images import shown

_FORM = "triton"
_LABELS = "labels.txt"
_MOST_IMAGES, _PREFERRED_IMAGES = 64, (8, 16, 32)
_IMAGE = "nvcr.io/nvidia/tritonserver:24.12-py3"  # a release whose ONNX Runtime knows operator set 20

# Without a delay nobody waits: a batch is what has come while the one before it was computed.
_CONFIG = """\
# Images in, probabilities out: normalisation, enlargement and softmax are inside the graph.
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {most}
input [
  {{
    name: "{input}"
    data_type: TYPE_UINT8
    dims: [ {size}, {size}, 3 ]
  }}
]
output [
  {{
    name: "{output}"
    data_type: TYPE_FP32
    dims: [ {classes} ]
    label_filename: "{labels}"
  }}
]
dynamic_batching {{
  preferred_batch_size: [ {preferred} ]
}}
# On a GPU: KIND_GPU.
instance_group [
  {{
    count: 1
    kind: KIND_CPU
  }}
]
version_policy {{
  latest {{
    num_versions: 1
  }}
}}
"""


def make(source: FormSource, target: Path) -> ExportedForm:
    """Writes a model repository with the bundle's graph in it and returns what it is.

    Raises GateError where the file answers otherwise than the bundle, ResourceError.
    """
    bundle, graph = source.bundle, source.bundle.files[MODEL]
    name = bundle.address_name
    written = OnnxModel(
        graph, name=f"{name}/1/model.onnx", size=bundle.input.stored_size, num_classes=len(bundle.class_names)
    )
    answers = partial(written.probabilities, batch_size=_PREFERRED_IMAGES[0])
    agreement = check_agreement(_FORM, source, answers)
    files = {
        f"{name}/config.pbtxt": _config(bundle).encode(),
        f"{name}/{_LABELS}": "".join(f"{shown(each)}\n" for each in bundle.class_names).encode(),
        f"{name}/1/model.onnx": graph,
    }
    facts = {"model": name, "max_batch_size": _MOST_IMAGES}
    sizes = write_form(_FORM, target, files, facts)
    mount = shlex.quote(f"{target.absolute()}:/models:ro")
    command = f"docker run --rm -p 8000:8000 -v {mount} {_IMAGE} tritonserver --model-repository=/models"
    return ExportedForm(_FORM, target, sizes, agreement, facts, command)


def _config(bundle: Bundle) -> str:
    """Returns config.pbtxt; the number of images stands in none of its shapes."""
    return _CONFIG.format(
        name=bundle.address_name,
        most=_MOST_IMAGES,
        input=INPUT_NAME,
        output=OUTPUT_NAME,
        size=bundle.input.stored_size,
        classes=len(bundle.class_names),
        labels=_LABELS,
        preferred=", ".join(map(str, _PREFERRED_IMAGES)),
    )
