"""Facts of how the gRPC server listens: TLS, certificates of clients, addresses that are not to be had."""

import datetime
import socket

import grpc
import pytest

from tests.unit.serve.oip.grpc_process import call, pixels_request, refusal, running_grpc
from tests.unit.tiny_bundle import random_images, tiny_bundle


def certificates(folder):
    """Write an authority, a server's and a client's pair that it has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)

    def make(name, issuer=None, issuer_key=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(issuer_key or key, hashes.SHA256())
        )
        plain = serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return subject, key

    authority = make("authority")
    make("server", *authority)
    make("client", *authority)


def test_mutual_tls_answers_only_clients_whose_certificate_the_authority_signed(tmp_path):
    certificates(tmp_path)
    files = {"tls_certificate": "server.pem", "tls_key": "server.key", "tls_client_authority": "authority.pem"}
    settings = {name: str(tmp_path / file) for name, file in files.items()}
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    request = pixels_request(random_images(1)).SerializeToString()
    with running_grpc(tiny_bundle(), **settings) as (_, address):
        known = grpc.ssl_channel_credentials(read["authority.pem"], read["client.key"], read["client.pem"])
        with grpc.secure_channel(address, known) as channel:
            assert call(channel, "ModelInfer", request)
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(read["authority.pem"])) as channel:
            assert refusal(channel, request)[0] is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(address) as channel:
            assert refusal(channel, request)[0] is grpc.StatusCode.UNAVAILABLE


def test_a_taken_port_and_a_missing_certificate_are_users_errors(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="expected a free address of this machine for gRPC"):
            running_grpc(tiny_bundle(), grpc_port=port).__enter__()
    missing = {"tls_certificate": str(tmp_path / "no.pem"), "tls_key": str(tmp_path / "no.key")}
    with pytest.raises(AssertionError, match=r"no\.key: expected a PEM file"):
        running_grpc(tiny_bundle(), **missing).__enter__()
