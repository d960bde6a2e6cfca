"""Talk to the API of Kubeflow Pipelines: log in, wait with a limit, try again, and say in one line what is wrong."""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfp_server_api import ApiClient, ApiException, Configuration
from kfp_server_api.rest import RESTClientObject
from urllib3 import exceptions as http

from oodtune.errors import ClusterError, UserError

HOW_TO_LOG_IN = "pass --token-file, --cookies-file or --service-account-token with a login that has not expired"
_LONGEST_WAIT_S = 30.0
_LONGEST_MESSAGE = 400
_VERB = re.compile(r":\w+$")
"""`runs/{id}:terminate` and its like: doing it twice is doing it once."""


class NotFoundError(ClusterError):
    """The cluster has no such thing, or none that this login may see."""


class ConflictError(ClusterError):
    """The cluster has one of that name already."""


class UnavailableError(ClusterError):
    """The cluster did not answer, or says that it cannot do it now: later it may."""

    def __init__(self, message: str, may_have_acted: bool, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.may_have_acted = may_have_acted
        """Whether the request may have done its work all the same."""
        self.wait_s = wait_s
        """How long the cluster wants to be left alone."""


_REFUSALS: dict[int, tuple[type[ClusterError], str, str]] = {
    401: (ClusterError, "expected a valid login", HOW_TO_LOG_IN),
    403: (ClusterError, "this login may not do that", "pass another --namespace, or ask for the role"),
    404: (NotFoundError, "not found", "correct --host, the name or the namespace"),
    409: (ConflictError, "exists already", "choose another name"),
}


@dataclass(frozen=True)
class Login:
    """At most one of three ways to say who asks."""

    token: str | None = field(default=None, repr=False)
    cookies: str | None = field(default=None, repr=False)
    """The header's text, such as `authservice_session=...`."""
    service_account_token: bool = False
    """Use the token that Kubernetes keeps fresh in a pod's volume."""

    def __post_init__(self) -> None:
        given = [self.token is not None, self.cookies is not None, self.service_account_token]
        if sum(given) > 1:
            raise UserError("expected one login, found several of token, cookies and service-account token; pass one")


@dataclass(frozen=True)
class Endpoint:
    """An API server, and how patient to be with it."""

    host: str
    """Such as https://kubeflow.example.com/pipeline or http://localhost:8888."""
    login: Login = Login()
    ca_file: Path | None = None
    """Certificates to trust in place of the public ones."""
    connect_s: float = 10.0
    answer_s: float = 60.0
    waits_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Before each new try."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.host)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UserError(f"--host {self.host}: expected a URL such as https://kubeflow.example.com/pipeline")


def open_connection(endpoint: Endpoint) -> ApiClient:
    """Return the client that the services of `kfp_server_api` work with. Nothing is sent yet.

    kfp's own Client has no time-outs, asks `healthz` when made, and reads and writes a file in the home folder.
    """
    if endpoint.ca_file is not None and not endpoint.ca_file.is_file():
        raise UserError(f"--ca-file {endpoint.ca_file}: expected a file of certificates, found none")
    configuration = Configuration(host=endpoint.host.rstrip("/"))
    configuration.ssl_ca_cert = None if endpoint.ca_file is None else str(endpoint.ca_file)
    configuration.retries = False  # urllib3 would follow a redirect to a login page, and knows no back-off by status
    _log_in(configuration, endpoint.login)
    client = ApiClient(configuration, cookie=endpoint.login.cookies)
    client.rest_client = _PatientRest(configuration, endpoint)
    return client


def _log_in(configuration: Configuration, login: Login) -> None:
    if login.token is not None:
        configuration.api_key["authorization"] = login.token
    elif login.service_account_token:
        from kfp.client import (
            KF_PIPELINES_SA_TOKEN_ENV,
            KF_PIPELINES_SA_TOKEN_PATH,
            ServiceAccountTokenVolumeCredentials,
        )

        path = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH
        if not os.access(path, os.R_OK):
            raise UserError(
                f"--service-account-token: expected a token in {path}, found none; mount a projected "
                f"service-account token there, or say in ${KF_PIPELINES_SA_TOKEN_ENV} where it is"
            )
        configuration.api_key["authorization"] = "read before every request"
        configuration.refresh_api_key_hook = ServiceAccountTokenVolumeCredentials(path).refresh_api_key_hook
    configuration.api_key_prefix["authorization"] = "Bearer"


class _PatientRest(RESTClientObject):
    """The generated client's HTTP, with a limit on every wait, new tries, and our errors."""

    def __init__(self, configuration: Configuration, endpoint: Endpoint) -> None:
        super().__init__(configuration)
        self._endpoint = endpoint

    def request(self, method: str, url: str, **arguments: Any) -> Any:
        """Send a request; again, if it is safe, while the server cannot answer. Raises ClusterError."""
        arguments["_request_timeout"] = (self._endpoint.connect_s, self._endpoint.answer_s)
        # RESTClientObject removes the content type of an upload from the headers it was given.
        headers = arguments.pop("headers", None) or {}
        is_safe = method != "POST" or _VERB.search(urlsplit(url).path) is not None
        for wait_s in (*self._endpoint.waits_s, None):
            try:
                return self._send(method, url, headers=dict(headers), **arguments)
            except UnavailableError as error:
                if wait_s is None or (error.may_have_acted and not is_safe):
                    raise
                time.sleep(max(wait_s, min(error.wait_s, _LONGEST_WAIT_S)))
        raise AssertionError("the last try returns or raises")

    def _send(self, method: str, url: str, **arguments: Any) -> Any:
        host = self._endpoint.host
        try:
            response = super().request(method, url, **arguments)
        except ApiException as error:
            raise _describe_refusal(host, error) from None
        except (http.NewConnectionError, http.ConnectTimeoutError) as error:
            raise UnavailableError(f"{host}: cannot be reached: {_last_words(error)}", may_have_acted=False) from None
        except http.HTTPError as error:
            raise UnavailableError(f"{host}: broke off: {_last_words(error)}", may_have_acted=True) from None
        if "html" in (response.getheader("content-type") or ""):
            raise ClusterError(
                f"{host}: expected the API of Kubeflow Pipelines, found a web page, as a login in front of it or "
                f"another path of the host shows one; {HOW_TO_LOG_IN}, or correct --host"
            )
        return response


def try_again(endpoint: Endpoint) -> Iterator[bool]:
    """Wait longer and longer between turns; yield whether this turn is the last."""
    yield not endpoint.waits_s
    for number, wait_s in enumerate(endpoint.waits_s, start=1):
        time.sleep(wait_s)
        yield number == len(endpoint.waits_s)


def _describe_refusal(host: str, error: ApiException) -> ClusterError:
    status, words = error.status, _server_words(error)
    if not status:  # what kfp_server_api makes of a failed TLS handshake
        return ClusterError(f"{host}: no safe connection: {words}; correct --host, or pass --ca-file")
    if 300 <= status < 400:
        return ClusterError(
            f"{host}: expected the API of Kubeflow Pipelines, found a redirect to "
            f"{_location(error)}; {HOW_TO_LOG_IN}, or correct --host"
        )
    if status == 429 or status >= 500:
        wait_s = _retry_after(error)
        return UnavailableError(f"{host}: cannot do it now ({status}): {words}; try later", status != 429, wait_s)
    kind, what, remedy = _REFUSALS.get(status, (ClusterError, "refused", "correct what the server names"))
    return kind(f"{host}: {what} ({status}): {words}; {remedy}")


def _server_words(error: ApiException) -> str:
    """Return what the server says, as one line."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else error.body or ""
    try:
        said = json.loads(body)
        keys = ("message", "error_message", "error", "error_details")
        text = next((str(said[key]) for key in keys if said.get(key)), "") if isinstance(said, dict) else str(said)
    except ValueError:
        text = "" if "<" in body else body
    line = " ".join((text or error.reason or "no reason given").split()).rstrip(".")
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."


def _location(error: ApiException) -> str:
    """Return where a redirect leads, without its query: that may hold secrets."""
    return str((error.headers or {}).get("location", "nowhere")).partition("?")[0]


def _retry_after(error: ApiException) -> float:
    text = (error.headers or {}).get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else 0.0


def _last_words(error: Exception) -> str:
    """Return what urllib3 says, without the object it says it of."""
    return " ".join(re.sub(r"^\w+\(.*?\): ", "", str(error)).split()) or type(error).__name__
