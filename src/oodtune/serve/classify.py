"""POST /v1/classify: an encoded image in, labels, probabilities and how strange it is out."""

from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from oodtune.bundle import Outputs, Pixels
from oodtune.preprocess import read_pixels
from oodtune.serve.answers import JSON, Answer
from oodtune.serve.engine import Seen
from oodtune.serve.prediction import Head, Prediction
from oodtune.serve.refusal import RefusedError
from oodtune.serve.served_model import Served, ServedModel

DEFAULT_TOP_K: Final = 5


class Classify:
    """Opens the requests of the route."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def __call__(self, head: Head) -> Prediction:
        """Ask for the `top_k` most probable classes of the image that is the request's body. Raises RefusedError."""
        model = self._served.current
        query = dict(parse_qsl(head.query.decode("latin-1"), keep_blank_values=True)) if head.query else {}
        return _Classification(model, read_top_k(query.get("top_k"), len(model.bundle.classes)))


class _Classification(Prediction):
    def __init__(self, model: ServedModel, top_k: int) -> None:
        super().__init__(model)
        self._top_k = top_k

    def read(self, body: bytes) -> None:
        self._body = body

    def load(self, model: ServedModel, seen: Seen) -> Pixels:
        pixels, num_pixels = read_pixels(self._body, model.bundle.preprocess)
        seen(num_pixels)
        return pixels[None]  # (1, S, S, 3)

    def write(self, outputs: Outputs) -> Answer:
        return Answer(orjson.dumps(describe(self.model, outputs, self._top_k)), JSON)


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
