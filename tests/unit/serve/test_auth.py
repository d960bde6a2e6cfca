"""Facts of the token, through the application that the server runs, with the token's check around it."""

import httpx
import pytest
from pydantic import SecretStr

from oodtune.config import ServeConfig
from oodtune.serve.app import create_app
from oodtune.serve.auth import PUBLIC_PATHS, RequireToken, TokenCheck
from oodtune.serve.parts import create_parts
from oodtune.serve.refusal import RefusedError
from oodtune.serve.settings import read_settings

TOKEN = "a-token_of.ours=="
GOOD = [b"Bearer " + TOKEN.encode()]


async def ask(method: str, path: str, headers: list[tuple[str, str]] | None = None) -> httpx.Response:
    settings = read_settings(ServeConfig(), {"workers": 1}, environ={})
    parts = create_parts(settings)
    app = RequireToken(create_app(parts), TokenCheck(SecretStr(TOKEN)), parts.metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.request(method, path, headers=headers)
    refused = parts.metrics.registry.get_sample_value("oodtune_rejected_total", {"reason": "unauthorised"})
    assert refused == (answer.status_code == 401)
    return answer


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        *("/v1/classify", "/v2", "/v2/models/model", "/v2/models/model/infer", "/v2/models/model/ready", "/nowhere"),
        *(
            "//v1/classify",
            "/v1/classify/",
            "/v1//classify",
            "/V1/classify",
            "/./v1/classify",
            "/healthz/../v1/classify",
        ),
        *("/%76%31/classify", "/v1%2fclassify", "/healthz%2f..%2fv1/classify", "/%2e/v1/classify", "/v1/classify%00"),
        *("/healthz/", "/metrics/", "/Healthz", "/v2/health/", "/v2/health/live/x", "/v2/health/../models/model"),
        *("/healthz;/v1/classify", "/v1/classify?/healthz", "/v1/classify?path=/healthz", "/docs/x"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_path_leads_around_the_token(method, path):
    answer = await ask(method, path)
    assert answer.status_code == 401
    assert answer.json() == {"error": "expected the header 'Authorization: Bearer TOKEN' with a valid token"}
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.anyio
@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS))
async def test_health_metrics_and_the_page_need_no_token(path):
    assert (await ask("GET", path)).status_code != 401


@pytest.mark.anyio
async def test_with_the_token_a_request_goes_on():
    answer = await ask("POST", "/v1/classify", [("Authorization", f"Bearer {TOKEN}")])
    assert answer.status_code == 503  # this server has no model yet


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_the_scheme_may_be_in_any_case(scheme):
    TokenCheck(SecretStr(TOKEN)).check([scheme + b" " + TOKEN.encode()])


@pytest.mark.parametrize(
    "values",
    [
        *([], [b""], [b"Bearer"], [b"Bearer "], [TOKEN.encode()], [b"Basic " + TOKEN.encode()]),
        *([GOOD[0][:-1]], [GOOD[0] + b"x"], [GOOD[0].upper()], [GOOD[0] + b"," + GOOD[0]], [b" " + GOOD[0]]),
        *(GOOD * 2, [b"Bearer x", *GOOD], [*GOOD, b"Bearer x"], [b"Bearer \xff\xfe"], [b"Bearer " + b"x" * 30_000]),
    ],
)
def test_anything_but_one_right_header_is_refused(values):
    with pytest.raises(RefusedError, match="expected the header") as caught:
        TokenCheck(SecretStr(TOKEN)).check(values)
    assert (caught.value.status, caught.value.reason) == (401, "unauthorised")


def test_a_token_may_hold_any_character():
    TokenCheck(SecretStr("schlüssel")).check(["Bearer schlüssel".encode()])
