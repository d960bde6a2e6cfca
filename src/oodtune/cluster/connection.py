"""A connection to a Kubernetes API server, and its refusals in one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from oodtune.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes import client

REQUEST_TIMEOUT_S: Final = 30
DEFAULT_NAMESPACE: Final = "default"
_POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Cluster:
    """One namespace of a Kubernetes cluster."""

    configuration: "client.Configuration"
    namespace: str
    is_inside: bool
    """This process runs in a pod of it, so that its inner addresses work."""

    @cached_property
    def _api(self) -> "client.ApiClient":
        from kubernetes import client

        return client.ApiClient(self.configuration)

    @cached_property
    def objects(self) -> "client.CustomObjectsApi":
        from kubernetes import client

        return client.CustomObjectsApi(self._api)

    @cached_property
    def core(self) -> "client.CoreV1Api":
        from kubernetes import client

        return client.CoreV1Api(self._api)


def connect(namespace: str | None = None, kubeconfig: Path | None = None) -> Cluster:
    """Return the cluster that `kubeconfig` names; without one, the pod's own, or the user's current one.

    No request is made. Raises ClusterError if there is nothing to connect to, or a package is missing.
    """
    try:
        from kubernetes import client, config
    except ModuleNotFoundError as error:
        if error.name != "kubernetes":
            raise
        raise ClusterError('expected the package kubernetes, found none; pip install "oodtune[cluster]"') from None
    configuration = client.Configuration()
    if kubeconfig is None:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            pass  # not in a pod
        else:
            own = _POD_NAMESPACE.read_text(encoding="utf-8").strip() if _POD_NAMESPACE.is_file() else ""
            return Cluster(configuration, namespace or own or DEFAULT_NAMESPACE, is_inside=True)
    file = str(kubeconfig) if kubeconfig is not None else None
    try:
        config.load_kube_config(config_file=file, client_configuration=configuration)
        _, current = config.list_kube_config_contexts(config_file=file)
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"expected a pod's service account or a kubeconfig, found neither ({_one_line(str(error))}); run this "
            "in the cluster, or set KUBECONFIG"
        ) from None
    return Cluster(
        configuration, namespace or current["context"].get("namespace") or DEFAULT_NAMESPACE, is_inside=False
    )


@contextmanager
def explained(doing: str, needs: str = "its controller") -> Iterator[None]:
    """Turn what the API server says against `doing` into ClusterError; `needs` brings the kind of object.

    Also through the exceptions that other libraries raise from the client's.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (ApiException, HTTPError, RuntimeError, TimeoutError) as error:
        cause = cause_of(error)
        if cause is None:
            raise
        raise ClusterError(f"{doing}: {describe(cause, needs)}") from None


def cause_of(error: BaseException) -> Exception | None:
    """Return what the client raised or met, if `error` is that or was raised from it."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ApiException | HTTPError):
            return link
        link = link.__cause__
    return error if isinstance(error, TimeoutError) else None


def is_passing(error: Exception) -> bool:
    """True for what may be over at the next request: a busy server, or none that answers."""
    from kubernetes.client import ApiException

    return not isinstance(error, ApiException) or error.status == 429 or (error.status or 500) >= 500


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the API server's refusal, if it is one."""
    status = getattr(cause_of(error), "status", None)
    return int(status) if status is not None else None


def describe(error: Exception, needs: str) -> str:
    """Return in one line what the API server says, and what to do."""
    from kubernetes.client import ApiException

    if not isinstance(error, ApiException):
        return f"the cluster does not answer ({_one_line(str(error))}); check its address and the network"
    said = _read_status(error)
    message = _one_line(str(said.get("message") or error.reason or "no reason given"))
    if error.status == 404 and not said:  # no Status object: not even the kind is known
        return f"the cluster does not know this kind of object (404); install {needs}"
    if is_passing(error):
        return f"the cluster failed ({error.status}: {message}); try again later"
    if error.status == 403 and "admission webhook" not in message:
        return f"not allowed (403: {message}); bind a role that allows it"
    known = {
        401: "the cluster does not accept these credentials (401); log in again, or renew the token",
        404: f"not found (404: {message})",
    }
    return known.get(error.status, f"refused ({error.status}: {message})")


def _read_status(error: Any) -> dict[str, Any]:
    try:
        said = json.loads(error.body or "")
    except ValueError:
        return {}
    return said if isinstance(said, dict) and said.get("kind") == "Status" else {}


def _one_line(text: str) -> str:
    return " ".join(text.split())
