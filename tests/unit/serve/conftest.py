"""What tests of the server read of its logs."""

import io
import json
import logging

import pytest

from oodtune.serve.logs import configure_logging


@pytest.fixture
def lines():
    """Yield a function that returns the lines logged so far, as JSON; logging is as before afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    before = (root.handlers[:], root.level)
    configure_logging(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.handlers, root.level = before
