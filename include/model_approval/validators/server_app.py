"""What the model server answers: our own API (`/v1`) and the Open Inference Protocol (`/v2`), with the same model.

GET  /healthz                             200 once the model is loaded, with the artifact's digest
POST /v1/predict                          {"inputs": {name: nested lists}} -> {"outputs": {name: nested lists}}
GET  /v2                                  the server, its locks and its times
GET  /v2/health/live, /v2/health/ready
GET  /v2/models/NAME[/versions/V][/ready]
POST /v2/models/NAME[/versions/V]/infer   JSON and binary tensors
"""

from __future__ import annotations

import hmac
import queue
import re
from collections.abc import Sequence

from model_approval.validators.contract import plain_line
from model_approval.validators.runtimes.contract import Feeds, RefusedInputError, Runtime, TensorSpec
from model_approval.validators.server_answer import Answer, Refusal, json_answer
from model_approval.validators.server_codec import InputError, OutputError, decode_inputs, encode_outputs
from model_approval.validators.server_connection import Endpoint
from model_approval.validators.server_head import Head
from model_approval.validators.server_infer import Inference
from model_approval.validators.server_options import Identity, Options
from model_approval.validators.server_status import Status
from model_approval.validators.server_tensors import BY_DTYPE

_TURN_S = 30.0
_MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")


class ModelApplication:
    """Routes requests; answers 503 where a model is needed and none is loaded yet."""

    def __init__(self, identity: Identity, options: Options, status: Status) -> None:
        self.max_body_bytes = options.max_body_bytes
        self.headers = b"".join(f"{name}: {value}\r\n".encode() for name, value in options.serving.headers.items())
        self._identity, self._options, self._status = identity, options, status
        self._token = options.token.encode() if options.token else None
        self._turns: queue.SimpleQueue[None] = queue.SimpleQueue()  # a semaphore, but written in C
        for _ in range(options.at_once):
            self._turns.put(None)
        self._runtime: Runtime | None = None
        self._inference: Inference | None = None
        self._inferred = False
        self._fixed: dict[str, tuple[str, Endpoint]] = {
            "/healthz": ("GET", self._health),
            "/v1/predict": ("POST", self._predict),
            "/v2": ("GET", self._server),
            "/v2/health/live": ("GET", lambda head, body: json_answer({"live": True})),
            "/v2/health/ready": ("GET", self._ready),
        }

    def serve(self, runtime: Runtime) -> None:
        """Answer with this model from now on."""
        name, version = self._identity.name, self._identity.version
        self._inference = Inference(name, version, runtime.inputs, runtime.outputs, finite=self._options.finite_inputs)
        self._runtime = runtime

    def route(self, head: Head) -> Endpoint:
        """Who answers; raises Refusal 401, 404 or 405. Probes need no token, so that whoever probes holds none."""
        method, endpoint = self._fixed.get(head.path) or self._model_route(head.path)
        if head.method != method and (method, head.method) != ("GET", "HEAD"):
            raise Refusal(405, f"{head.path} answers {method} only", headers=b"Allow: %s\r\n" % method.encode())
        if head.path != "/healthz" and not head.path.startswith("/v2/health/"):
            self._authenticate(head)
        return endpoint

    def _model_route(self, path: str) -> tuple[str, Endpoint]:
        match = _MODEL_PATH.fullmatch(path)
        if not match:
            raise Refusal(404, f"there is nothing at {path[:200]}")
        name, version, what = match.groups()
        if name != self._identity.name or version not in (None, self._identity.version):
            raise Refusal(404, f"the model here is {self._identity.name!r}, version {self._identity.version!r}")
        if what == "/infer":
            return "POST", self._infer
        return "GET", self._ready if what == "/ready" else self._model

    def _authenticate(self, head: Head) -> None:
        if self._token is None:
            return
        scheme, _, given = head.headers.get("authorization", "").partition(" ")
        # Headers are decoded as latin-1. Comparing bytes in constant time tells nothing about the token.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise Refusal(401, "a valid bearer token is needed", headers=b"WWW-Authenticate: Bearer\r\n")

    def _loaded(self) -> Runtime:
        if self._runtime is None:
            raise Refusal(503, "the model is still loading", headers=b"Retry-After: 1\r\n")
        return self._runtime

    def _health(self, head: Head, body: memoryview) -> Answer:
        runtime = self._loaded()
        digest = self._identity.artifact_digest
        return json_answer({"status": "ready", "artifact_digest": digest, "device": runtime.device})

    def _ready(self, head: Head, body: memoryview) -> Answer:
        self._loaded()
        return json_answer({"ready": True})

    def _server(self, head: Head, body: memoryview) -> Answer:
        return json_answer(
            {
                "name": "model_approval.model_server",
                "version": "1",
                "extensions": ["binary_tensor_data"],
                "parameters": {"artifact_digest": self._identity.artifact_digest, **self._status.report()},
            }
        )

    def _model(self, head: Head, body: memoryview) -> Answer:
        runtime = self._loaded()
        return json_answer(
            {
                "name": self._identity.name,
                "versions": [self._identity.version],
                "platform": runtime.name,
                "inputs": [_described(spec) for spec in runtime.inputs],
                "outputs": [_described(spec) for spec in runtime.outputs],
                "parameters": dict(runtime.facts) | {"runtime_version": runtime.version, "device": runtime.device},
            }
        )

    def _infer(self, head: Head, body: memoryview) -> Answer:
        runtime = self._loaded()
        assert self._inference is not None
        json_bytes = head.json_bytes
        if json_bytes is not None and json_bytes > len(body):
            raise Refusal(400, "Inference-Header-Content-Length is longer than the body")
        plan, feeds = self._inference.read(body, json_bytes)
        values = self._run(runtime, feeds, refused=400, failed=500)
        if not self._inferred:
            self._inferred = True
            self._status.event("first_inference")
        return self._inference.write(plan, values)

    def _predict(self, head: Head, body: memoryview) -> Answer:
        runtime = self._loaded()
        try:
            inputs = decode_inputs(bytes(body), runtime.inputs)
        except InputError as err:
            raise Refusal(err.status, plain_line(str(err))) from err
        values = self._run(runtime, inputs, refused=422, failed=422)
        try:
            outputs = encode_outputs([spec.name for spec in runtime.outputs], values)
        except OutputError as err:
            raise Refusal(500, str(err)) from err
        return json_answer({"outputs": outputs, "artifact_digest": self._identity.artifact_digest})

    def _run(self, runtime: Runtime, feeds: Feeds, *, refused: int, failed: int) -> Sequence[object]:
        try:
            self._turns.get(timeout=_TURN_S)
        except queue.Empty as err:
            raise Refusal(503, f"no turn within {_TURN_S:g} s", headers=b"Retry-After: 1\r\n") from err
        try:
            return runtime.run(feeds)
        except RefusedInputError as err:
            message = f"the model does not take these inputs: {plain_line(str(err), limit=300)}"
            raise Refusal(refused, message) from err
        except Exception as err:  # whatever a model raises ends here; the server goes on
            what = "the model does not take these inputs" if failed == 422 else "the model failed"
            raise Refusal(failed, f"{what}: {plain_line(str(err), limit=300)}") from err
        finally:
            self._turns.put(None)


def _described(spec: TensorSpec) -> dict[str, object]:
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in spec.shape]
    described: dict[str, object] = {"name": spec.name, "datatype": BY_DTYPE.get(spec.dtype, spec.dtype), "shape": shape}
    names = [size if isinstance(size, str) else "" for size in spec.shape]
    # Beyond the protocol: it has -1 for every open size, but whoever makes up inputs needs to tell them apart.
    return {**described, "parameters": {"dimensions": names}} if any(names) else described
