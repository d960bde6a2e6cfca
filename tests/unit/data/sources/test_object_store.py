"""What can be known of the store without an S3 service; the rest is in tests/e2e/test_dvc_source.py."""

import socket

import pytest

from oodtune.data.sources import object_store
from oodtune.errors import UserError


def test_an_endpoint_that_listens_but_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_PROBE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match="expected an S3 service, none answers within"):
            object_store.probe_endpoint(endpoint)
