"""Whatever is sent to a real server, it answers as its own OpenAPI document says, and never with 5xx."""

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.unit.serve.running import running
from tests.unit.tiny_bundle import SIZE, encode, random_images, tiny_bundle

pytestmark = pytest.mark.e2e

QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
INFER = "/v2/models/model/infer"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    log = tmp_path_factory.mktemp("fuzz") / "stderr"
    with log.open("w") as stderr, running(str(tiny_bundle()), stderr=stderr) as (process, address):
        yield address
        assert process.poll() is None
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


def test_every_route_answers_as_documented(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # schemathesis keeps what failed in the working directory
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert {"/v1/classify", INFER.replace("/model/", "/{name}/")} <= {operation.path for operation in operations}
    wrong = {operation.label: text for operation in operations if (text := find_fault(operation))}
    assert wrong == {}, "\n\n".join(f"{label}: {text}" for label, text in wrong.items())


def find_fault(operation: APIOperation) -> str:
    """Return what is wrong with answers to requests of one operation, valid and invalid ones; or nothing.

    That valid data must be accepted is left out: no schema says which bytes are an image, or that counts fit a shape.
    """

    @QUICK
    @given(operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE))
    def ask(case: Case) -> None:
        case.call_and_validate(timeout=30, excluded_checks=[positive_data_acceptance])

    try:
        ask()
    except (AssertionError, BaseExceptionGroup) as error:
        return str(error)
    return ""


PIXELS = bytes(random_images(1)[0])
TENSOR = {
    "name": "images",
    "datatype": "UINT8",
    "shape": [1, SIZE, SIZE, 3],
    "parameters": {"binary_data_size": len(PIXELS)},
}
FILE = encode(random_images(1)[0])
STRING = len(FILE).to_bytes(4, "little") + FILE
ENCODED = {"name": "encoded", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(STRING)}}

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
changes = st.dictionaries(
    st.sampled_from(["name", "datatype", "shape", "parameters", "data", "other"]),
    anything | st.lists(st.integers(-3, 2**40), max_size=5),
    max_size=2,
)


@settings(QUICK, max_examples=200)
@given(
    tensor=st.sampled_from([(TENSOR, PIXELS), (ENCODED, STRING)]),
    changed=changes,
    more=st.dictionaries(st.sampled_from(["id", "outputs", "parameters", "inputs"]), anything, max_size=1),
    size_change=st.integers(-3, 3),
    header_change=st.sampled_from([0, 0, 0, -1, 1, 100_000]),
)
def test_a_binary_request_that_is_changed_somewhere_is_answered(
    client, tensor, changed, more, size_change, header_change
):
    stated, data = tensor
    header = json.dumps({"inputs": [{**stated, **changed}], **more}).encode()
    body = header + (data[:size_change] if size_change < 0 else data + bytes(size_change))
    headers = {"Inference-Header-Content-Length": str(len(header) + header_change)}
    check(client.post(INFER, content=body, headers=headers))


@settings(QUICK, max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([None, "0", "1", "10", "299"]))
def test_bytes_of_any_kind_are_answered(client, body, length):
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    check(client.post(INFER, content=body, headers=headers))


@settings(QUICK, max_examples=100)
@given(st.integers(0, len(FILE) - 1), st.binary(max_size=8))
def test_a_file_that_is_changed_somewhere_is_answered(client, at, change):
    check(client.post("/v1/classify", content=FILE[:at] + change + FILE[at + len(change) :]))


def check(answer: httpx.Response) -> None:
    """It was served, or it is the client's fault and says why, in one line."""
    assert answer.status_code in (200, 400), answer.text[:300]
    if answer.status_code == 400:
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"]
        assert "\n" not in answer.json()["error"]
