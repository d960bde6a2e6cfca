"""What LitServe's workers run; they import it by name."""

import base64

import litserve
from serve_peer_apps import Predictor


class Api(litserve.LitAPI):  # type: ignore[misc]
    """A JPEG in base64 in, probabilities out."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def setup(self, device: str) -> None:
        self.predictor = Predictor(self.model)

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image"])

    def predict(self, jpeg: bytes) -> list[float]:
        (probabilities,) = self.predictor.predict([jpeg])
        return list(probabilities)

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        return {"probabilities": output}
