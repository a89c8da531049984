"""The application: /predict, /model, /metrics and the page; the Open Inference Protocol comes beside."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from pictorch.predictor import Predictor
from pictorch.serving.exchange import error_body
from pictorch.serving.front import Front, Shortcut
from pictorch.serving.inference_protocol import protocol_routes
from pictorch.serving.intake import Reader
from pictorch.serving.limits import Limits, RequestError
from pictorch.serving.metrics import CONTENT_TYPE
from pictorch.serving.schemas import Answer, Answers, Shape, failures, predict_body
from pictorch.serving.service import Service

PAGE = Path(__file__).parents[1] / "page"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TOP = 5
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def create_app(predictor: Predictor, limits: Limits | None = None) -> FastAPI:
    """Returns the application that answers from `predictor`; its lifespan must be run, as uvicorn does.

    `app.state.service.traffic.draining` set to True makes it not ready and closes connections as they are
    answered.
    """
    service = Service(predictor, limits or Limits())
    app = FastAPI(
        title=f"pictorch: {service.name}", version=service.version, lifespan=service.running,
        description="Names what is in images. Errors are JSON and say what to do.",
        docs_url=None, redoc_url=None,  # they load scripts from elsewhere
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    app.state.service = service
    for kind in (RequestError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _failed)
    shortcuts = {"/predict": _add_predict(app, service)}
    app.add_middleware(Front, traffic=service.traffic, metrics=service.metrics, shortcuts=shortcuts)
    _add_facts(app, service)
    app.include_router(protocol_routes(service))
    _add_page(app)
    return app


def _add_predict(app: FastAPI, service: Service) -> Shortcut:
    """Adds the route, and returns what it does with a body where nothing else is asked."""
    spec, names = service.bundle.input, service.bundle.class_names
    reader, usual = Reader(spec, service.limits), min(_TOP, len(names))
    top_query = Query(ge=1, le=len(names), description=f"classes to name (default {usual})")

    async def answer(body: bytes, content_type: str, top: int = usual, with_input: bool = False) -> bytes:
        sent = (body, content_type, with_input)
        intake, rows = await service.batcher.answer(
            partial(reader.read, *sent), at_once=partial(reader.read_small, *sent)
        )
        answers = [_answer(row, names, top) for row in rows]
        for each, picture in zip(answers, intake.shown, strict=False):
            each["input"] = picture
        return _json({"predictions": answers} if intake.several else answers[0]).encode()

    @app.post(
        "/predict",
        summary="Name what is in one image or several",
        response_model=Answer | Answers,
        responses=failures(400, 408, 413, 415, 422, 503),
        openapi_extra=predict_body(service.limits, spec.stored_size),
    )
    async def predict(
        request: Request, top: Annotated[int, top_query] = usual, with_input: bool = False
    ) -> Response:
        """The image as form field `image`, as the body itself, or in base64 as JSON.

        One image is answered by its class; several files, or the JSON list `images`, by `predictions`.
        """
        content_type = request.headers.get("content-type", "")
        content = await answer(await request.body(), content_type, top, with_input)
        return Response(content, media_type="application/json")

    return answer


def _answer(row: NDArray[np.float32], names: tuple[str, ...], top: int) -> dict[str, Any]:
    order = np.argsort(-row, kind="stable")[:top].tolist()
    best = [{"class": names[place], "class_id": place, "probability": float(row[place])} for place in order]
    return {**best[0], "top": best}


def _add_facts(app: FastAPI, service: Service) -> None:
    facts = service.bundle.facts
    model = {
        "name": service.name,
        "title": service.title,
        "version": service.version,
        "classes": list(facts.class_names),
        "image_size": facts.input.stored_size,
        "channels": 3,
        "fit": facts.input.fit,
        "metrics": facts.metrics,
        "limits": {**vars(service.limits), "max_images": service.limits.images_of(facts.input.stored_size)},
    }

    @app.get("/model", summary="What the model knows and what is allowed", response_model=Shape)
    async def describe() -> Response:
        """Class names, the input, the metrics of the bundle, and the limits of this server."""
        return JSONResponse(model)

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        """Requests by code; seconds of decoding, queueing and inference; batch sizes."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_page(app: FastAPI) -> None:
    files = _PageFiles(directory=PAGE)
    app.mount("/static", files)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)


class _PageFiles(StaticFiles):
    """The files of the page, which may load nothing from elsewhere."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


async def _failed(request: Request, error: Exception) -> Response:
    refusal = _refusal(request, error)
    content = error_body(request.url.path, refusal, request.scope["request_id"])
    return JSONResponse(content, refusal.status, headers=dict(refusal.headers))


def _refusal(request: Request, error: Exception) -> RequestError:
    """Returns what any error of the routing and of the query means to the client."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"])
        return RequestError(
            422, "bad_parameter", f"{place}: {first['msg']}; /openapi.json says what it takes"
        )
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == 405:
        said = f"{path} does not know {method}; use {(error.headers or {}).get('Allow', 'GET')}"
        return RequestError(405, "method_not_allowed", said, error.headers)
    return RequestError(
        error.status_code, "not_found", f"there is nothing at {path[:80]}; /openapi.json lists what there is"
    )
