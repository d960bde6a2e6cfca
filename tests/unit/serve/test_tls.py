"""Facts of a server that speaks TLS."""

import os
import signal
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from oodtune.config import ServeConfig
from oodtune.errors import UserError
from oodtune.serve import read_settings, run_server
from tests.unit.serve.running import running
from tests.unit.tiny_bundle import tiny_bundle


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of localhost that is its own authority, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", *options, *names, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_with_an_authority_only_clients_with_its_certificate_are_served(tmp_path):
    certificate, key = make_certificate(tmp_path)
    environ = {
        **os.environ,
        "OODTUNE_TLS_CERTIFICATE": str(certificate),
        "OODTUNE_TLS_KEY": str(key),
        "OODTUNE_TLS_CLIENT_AUTHORITY": str(certificate),
    }
    with running(str(tiny_bundle()), environ=environ) as (server, address):
        assert address.startswith("https://")
        stranger = ssl.create_default_context(cafile=str(certificate))
        with pytest.raises(httpx.TransportError), httpx.Client(verify=stranger) as client:
            client.get(f"{address}/healthz")
        known = ssl.create_default_context(cafile=str(certificate))
        known.load_cert_chain(certificate, key)
        with httpx.Client(verify=known) as client:
            assert client.get(f"{address}/healthz").status_code == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=15) == 0  # the idle client says no goodbye
        assert "Traceback" not in server.stderr.read()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tls_certificate": Path("none.pem")}, "expected PEM files of a certificate"),
        ({"tls_client_authority": Path("any.pem")}, "expected tls_certificate beside tls_key or tls_client_authority"),
    ],
)
def test_tls_that_cannot_work_is_a_users_error(fields, expected):
    with pytest.raises(UserError, match=expected):
        run_server(tiny_bundle(), read_settings(ServeConfig(), {"port": 0, **fields}, environ={}))
