"""One request to an endpoint that has just been deployed: does the right model answer?"""

import http.client
import io
import json
import urllib.error
import urllib.request
from typing import Final

READY_PATH: Final = "/healthz"
LIVE_PATH: Final = "/v2/health/live"
"""Answers while a model is still being fetched, too: a pod that takes its time is not restarted."""
CLASSIFY_PATH: Final = "/v1/classify"
ANSWER_TIMEOUT_S: Final = 10
_SIZE: Final = 64


class SmokeError(Exception):
    """The endpoint does not answer as it must."""


def ask_model(url: str) -> str:
    """Return the digest of the bundle that answers at `url`. Raises SmokeError if none answers well.

    The endpoint must say that it is ready, and classify an image drawn here.
    """
    _request(url, READY_PATH, None)
    answer = _request(url, CLASSIFY_PATH, _draw_image())
    try:
        facts = json.loads(answer)
        model, classes = facts["model"], facts["classes"]
        sane = isinstance(model, str) and all(0.0 <= one["probability"] <= 1.0 for one in classes) and bool(classes)
    except (ValueError, KeyError, TypeError):
        sane = False
    if not sane:
        raise SmokeError(f"{url}{CLASSIFY_PATH} does not answer with the classes of an image")
    return str(model)


def _request(url: str, path: str, body: bytes | None) -> bytes:
    """GET, or POST the image `body`."""
    address = url.rstrip("/") + path
    headers = {} if body is None else {"Content-Type": "image/png"}
    request = urllib.request.Request(address, data=body, headers=headers)  # noqa: S310  (an address of the cluster's)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:  # noqa: S310
            answer: bytes = response.read()
            return answer
    except urllib.error.HTTPError as error:
        with error:
            raise SmokeError(f"{address} answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise SmokeError(f"{address} does not answer ({reason})") from None


def _draw_image() -> bytes:
    """Return a PNG of a colour gradient: what it shows does not matter."""
    from PIL import Image

    gradient = Image.linear_gradient("L").resize((_SIZE, _SIZE))
    image = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
