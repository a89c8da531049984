"""The routes of the Open Inference Protocol v2, by which KServe's and Triton's clients ask.

The model's input is an image as the model sees it; files of any size are for /predict.
"""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response

from pictorch.bundle.onnx_model import INPUT_NAME, OUTPUT_NAME
from pictorch.serving.inference_tensors import JSON_LENGTH, read_inference
from pictorch.serving.schemas import INFERENCE_BODY, PROTOCOL_ANSWER, protocol_failures
from pictorch.serving.service import Service


def protocol_routes(service: Service) -> APIRouter:
    """Returns everything below /v2; the model's name is a part of its addresses."""
    router = APIRouter(tags=["Open Inference Protocol v2"])
    _add_health(router, service)
    model = f"/v2/models/{service.name}"
    for prefix, is_shown in ((model, True), (f"{model}/versions/{service.version}", False)):
        _add_model(router, service, prefix, is_shown)
    return router


def _add_health(router: APIRouter, service: Service) -> None:
    @router.get("/v2", summary="Server", response_model=dict[str, Any])
    async def server() -> Response:
        extensions = ["binary_tensor_data"]
        return JSONResponse({"name": "pictorch", "version": service.version, "extensions": extensions})

    @router.get("/v2/health/live", summary="Is the process alive?", response_model=dict[str, bool])
    async def live() -> Response:
        return JSONResponse({"live": True})

    @router.get(
        "/v2/health/ready",
        summary="Does it take requests?",
        response_model=dict[str, bool],
        responses=protocol_failures(503),
    )
    async def ready() -> Response:
        return JSONResponse({"ready": service.is_ready}, 200 if service.is_ready else 503)


def _add_model(router: APIRouter, service: Service, prefix: str, is_shown: bool) -> None:
    spec, names = service.bundle.input, service.bundle.class_names
    size = spec.stored_size
    metadata = {
        "name": service.name,
        "versions": [service.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, size, size, 3]}],
        "outputs": [{"name": OUTPUT_NAME, "datatype": "FP32", "shape": [-1, len(names)]}],
    }

    @router.get(prefix, summary="Model", response_model=dict[str, Any], include_in_schema=is_shown)
    async def describe() -> Response:
        return JSONResponse(metadata)

    @router.get(
        f"{prefix}/ready",
        summary="Does the model take requests?",
        response_model=dict[str, Any],
        responses=protocol_failures(503),
        include_in_schema=is_shown,
    )
    async def ready() -> Response:
        return JSONResponse(
            {"name": service.name, "ready": service.is_ready}, 200 if service.is_ready else 503
        )

    @router.post(
        f"{prefix}/infer",
        summary="Probabilities of images that have the model's size",
        responses={200: PROTOCOL_ANSWER, **protocol_failures(400, 408, 413, 415, 503)},
        openapi_extra=INFERENCE_BODY,
        include_in_schema=is_shown,
    )
    async def infer(
        request: Request, json_length: Annotated[str, Header(alias=JSON_LENGTH)] = ""
    ) -> Response:
        read = partial(read_inference, await request.body(), json_length, size, service.limits)
        asked, rows = await service.batcher.answer(read)
        body, head = asked.answer(rows, {"model_name": service.name, "model_version": service.version})
        if head is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type="application/octet-stream", headers={JSON_LENGTH: str(head)})
