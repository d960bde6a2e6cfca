"""What mosec's workers run; they import it by name."""

import os
from typing import Final

import mosec
from serve_peer_apps import Predictor

MODEL: Final = "OODTUNE_BENCHMARK_MODEL"


class Classify(mosec.Worker):  # type: ignore[misc]
    """A bare JPEG in, probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.predictor = Predictor(os.environ[MODEL])

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> dict[str, list[float]]:
        return {"probabilities": self.predictor.predict([data])[0]}
