"""POST /v1/classify: an encoded image in, labels, probabilities and how strange it is out."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from oodtune.bundle import Outputs, Pixels
from oodtune.preprocess import decode_image, preprocess
from oodtune.serve.answers import json_answer
from oodtune.serve.body import BodyReader
from oodtune.serve.engine import Engine, Load, Seen
from oodtune.serve.refusal import RefusedError
from oodtune.serve.served_model import Served, ServedModel

DEFAULT_TOP_K: Final = 5


class Classify:
    """The handler of the route."""

    def __init__(self, served: Served, engine: Engine, bodies: BodyReader) -> None:
        self._served = served
        self._engine = engine
        self._bodies = bodies

    async def __call__(self, request: Request) -> Response:
        """Answer the `top_k` most probable classes of the image that is the request's body. Raises RefusedError."""
        model = self._served.current
        text = request.query_params.get("top_k") if request.scope["query_string"] else None
        top_k = read_top_k(text, len(model.bundle.classes))
        async with self._bodies.read(request) as body:
            outputs = await self._engine.predict(model, decoded(body))
        return json_answer(describe(model, outputs, top_k))


def decoded(body: bytes) -> Load:
    """Return what makes pixels (1, S, S, 3) of an encoded image."""

    def load(model: ServedModel, seen: Seen) -> Pixels:
        image = decode_image(body)
        seen(image.width * image.height)
        return preprocess(image, model.bundle.preprocess)[None]

    return load


def read_top_k(text: str | None, num_classes: int) -> int:
    """Return how many classes to answer. Raises RefusedError unless `text` is a whole number from 1 to K, or None."""
    if text is None:
        return min(DEFAULT_TOP_K, num_classes)
    longest = len(str(num_classes))  # int() of thousands of digits is an error of its own
    if not (text.isascii() and text.isdecimal() and len(text) <= longest and 1 <= int(text) <= num_classes):
        message = f"top_k: expected a whole number from 1 to {num_classes}, the number of classes"
        raise RefusedError("bad_request", message)
    return int(text)


def describe(model: ServedModel, outputs: Outputs, top_k: int) -> dict[str, Any]:
    """Return what is answered for one image. A float32 becomes the float64 of equal value: JSON keeps every bit."""
    bundle, scores = model.bundle, model.bundle.domains
    distances = outputs.domain_distances[0].tolist()  # (M,)
    ranked = bundle.rank(outputs.probabilities[0], top_k)
    domains = sorted(zip(scores.domains, distances, strict=True), key=lambda one: one[1])
    score = scores.score_one(min(distances))
    return {
        "model": bundle.digest,
        "model_name": model.name,
        "model_version": model.version,
        "classes": [{"label": label, "probability": probability} for label, probability in ranked],
        "ood": {
            "score": score,
            "max_score": scores.max_score,
            "out_of_domain": score > scores.max_score,
            "energy": float(outputs.energy[0]),
        },
        "domains": [{"name": name, "distance": distance} for name, distance in domains],
    }
