"""The KServe object of an endpoint: what we write into it, and what its status says."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from oodtune.cluster.connection import REQUEST_TIMEOUT_S, Cluster, explained, status_of
from oodtune.cluster.smoke import LIVE_PATH, READY_PATH
from oodtune.config.deploy import DeployConfig
from oodtune.errors import ClusterError

GROUP: Final = "serving.kserve.io"
VERSION: Final = "v1beta1"
PLURAL: Final = "inferenceservices"
NEEDS: Final = "KServe"
POD_LABEL: Final = "serving.kserve.io/inferenceservice"
CONTAINER: Final = "kserve-container"
MODEL_DIR: Final = "/mnt/models"
"""Where KServe puts what STORAGE_URI names."""
PORT: Final = 8080
_ATTEMPTS: Final = 5
_HAS_NO_CANARY: Final = ("Standard", "RawDeployment")
"""Deployment modes, by today's name and the former, where KServe ignores canaryTrafficPercent."""

Body = dict[str, Any]


def build(config: DeployConfig, namespace: str, uri: str) -> Body:
    """Return the InferenceService that serves the bundle at `uri`."""
    assert config.service is not None
    predictor: Body = {
        "minReplicas": config.min_replicas,
        "maxReplicas": config.max_replicas,
        "containers": [_container(config, uri)],
    }
    if config.service_account is not None:
        predictor["serviceAccountName"] = config.service_account
    if config.image_pull_secrets:
        predictor["imagePullSecrets"] = [{"name": name} for name in config.image_pull_secrets]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": config.service,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "oodtune", "app.kubernetes.io/managed-by": "oodtune"},
            # The newest revision gets an address of its own: a canary can be asked alone.
            "annotations": {f"{GROUP}/enable-tag-routing": "true"},
        },
        "spec": {"predictor": predictor},
    }


def _container(config: DeployConfig, uri: str) -> Body:
    gpus = {"nvidia.com/gpu": str(config.gpus)} if config.gpus else {}
    asked = {"cpu": config.cpu, "memory": config.memory, **gpus}
    return {
        "name": CONTAINER,
        "image": config.image,
        "command": ["oodtune", "serve", MODEL_DIR],
        "env": [
            {"name": "STORAGE_URI", "value": uri},
            {"name": "OODTUNE_LISTEN_HOST", "value": "0.0.0.0"},  # noqa: S104  (of the pod)
            {"name": "OODTUNE_LISTEN_PORT", "value": str(PORT)},
            {"name": "OODTUNE_PROVIDER", "value": "cuda" if config.gpus else "cpu"},
        ],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "resources": {"requests": asked, "limits": asked},
        "readinessProbe": {"httpGet": {"path": READY_PATH, "port": PORT}},
        "livenessProbe": {"httpGet": {"path": LIVE_PATH, "port": PORT}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def read(cluster: Cluster, name: str) -> Body | None:
    """Return the InferenceService, or None if there is none of this name."""
    from kubernetes.client import ApiException

    try:
        found: Body = cluster.objects.get_namespaced_custom_object(
            GROUP, VERSION, cluster.namespace, PLURAL, name, _request_timeout=REQUEST_TIMEOUT_S
        )
    except ApiException as error:
        if error.status == 404 and "NotFound" in (error.body or ""):  # and the kind is known
            return None
        raise
    return found


def write(cluster: Cluster, wanted: Body, canary_percent: int | None) -> tuple[Body | None, Body]:
    """Create the InferenceService or change its predictor; return it as it was and as it is.

    What others added to it stays. The same again changes nothing: its generation stays, too.
    """
    name = wanted["metadata"]["name"]
    for _ in range(_ATTEMPTS):
        before = read(cluster, name)
        try:
            if before is None:
                return None, _create(cluster, wanted)
            return before, _replace(cluster, _merge(before, wanted, canary_percent))
        except Exception as error:
            if status_of(error) != 409:  # someone else changed, created or deleted it meanwhile
                raise
    raise ClusterError(f"{name}: others changed it {_ATTEMPTS} times while it was to be changed; try again")


def put_back(cluster: Cluster, before: Body | None, written: Body) -> str:
    """Undo `write`; return what is there now, in words. What someone else has changed since then stays."""
    name, metadata = written["metadata"]["name"], written["metadata"]
    if before is not None and before["metadata"]["generation"] == metadata["generation"]:
        return "nothing was changed"
    with explained(f"putting the previous state of {name} back", NEEDS):
        current = read(cluster, name)
        if current is None or current["metadata"]["generation"] != metadata["generation"]:
            return "someone else has changed it since: it is left as it is"
        if before is None:
            cluster.objects.delete_namespaced_custom_object(
                GROUP, VERSION, cluster.namespace, PLURAL, name, _request_timeout=REQUEST_TIMEOUT_S
            )
            return "it is deleted again"
        _replace(cluster, {**current, "spec": before["spec"]})
    return "the previous version is back"


def _create(cluster: Cluster, body: Body) -> Body:
    created: Body = cluster.objects.create_namespaced_custom_object(
        GROUP, VERSION, cluster.namespace, PLURAL, body, _request_timeout=REQUEST_TIMEOUT_S
    )
    return created


def _replace(cluster: Cluster, body: Body) -> Body:
    """`body` names the resourceVersion that it was made from: 409 if that is not the newest."""
    replaced: Body = cluster.objects.replace_namespaced_custom_object(
        GROUP,
        VERSION,
        cluster.namespace,
        PLURAL,
        body["metadata"]["name"],
        body,
        _request_timeout=REQUEST_TIMEOUT_S,
    )
    return replaced


def _merge(before: Body, wanted: Body, canary_percent: int | None) -> Body:
    """A canary needs a version beside it; the same version again stays what it was, canary or not."""
    merged = deepcopy(before)
    for part in ("labels", "annotations"):
        merged["metadata"][part] = {**(before["metadata"].get(part) or {}), **wanted["metadata"][part]}
    predictor = deepcopy(wanted["spec"]["predictor"])
    old = before["spec"]["predictor"]
    is_new = _version_of(old) != _version_of(predictor)
    if canary_percent is not None and (is_new or "canaryTrafficPercent" in old):
        if (before.get("status") or {}).get("deploymentMode") in _HAS_NO_CANARY:
            raise ClusterError(
                f"deploy.canary_percent: expected a service that Knative runs, found {before['metadata']['name']} in "
                "KServe's Standard mode, which would move all requests at once; set it to null"
            )
        predictor["canaryTrafficPercent"] = canary_percent
    merged["spec"]["predictor"] = predictor
    return merged


def _version_of(predictor: Body) -> tuple[object, ...]:
    """Return the image and what it serves."""
    container = (predictor.get("containers") or [{}])[0]
    uris = [one.get("value") for one in container.get("env") or [] if one["name"] == "STORAGE_URI"]
    return container.get("image"), *uris


@dataclass(frozen=True)
class Status:
    """What KServe says of an InferenceService."""

    body: Body

    @property
    def _status(self) -> Body:
        return self.body.get("status") or {}

    @property
    def is_ready(self) -> bool:
        return any(one["type"] == "Ready" and one["status"] == "True" for one in self._status.get("conditions") or [])

    def shows(self, before: Body | None) -> bool:
        """True if what it says is of the pods that it has now, and not of those of `before`.

        KServe copies `observedGeneration` from the Deployment or the Knative Service that it writes, so it is no
        generation of ours; but it grows when the pods are to change. Of revisions, the newest must be the ready one.
        """
        revisions = (self._status.get("components") or {}).get("predictor") or {}
        if revisions.get("latestCreatedRevision") != revisions.get("latestReadyRevision"):
            return False
        if before is None or _pods_of(before) == _pods_of(self.body):
            return True
        return bool(self._status.get("observedGeneration") != (before.get("status") or {}).get("observedGeneration"))

    @property
    def invalid(self) -> str | None:
        """Why KServe will never run this, if it says so."""
        model = self._status.get("modelStatus") or {}
        return self.failure or "invalid" if model.get("transitionStatus") == "InvalidSpec" else None

    @property
    def failure(self) -> str | None:
        """Why the newest model did not load."""
        info = (self._status.get("modelStatus") or {}).get("lastFailureInfo") or {}
        return ": ".join(str(info[key]) for key in ("reason", "message") if info.get(key)) or None

    @property
    def complaints(self) -> list[str]:
        """The conditions that are not met, in words."""
        return [
            ": ".join(str(one[key]) for key in ("type", "reason", "message") if one.get(key))
            for one in self._status.get("conditions") or []
            if one["status"] == "False"
        ]

    @property
    def url(self) -> str:
        """Its public address."""
        return str(self._status.get("url") or "")

    def addresses(self, is_inside: bool) -> list[str]:
        """Return where to ask for the newest version, the most direct first: `is_inside` of the cluster, or not."""
        predictor = (self._status.get("components") or {}).get("predictor") or {}
        tagged = [one.get("url") for one in predictor.get("traffic") or [] if one.get("tag") == "latest"]
        inner = (self._status.get("address") or {}).get("url") if is_inside else None
        return [str(one) for one in (*tagged, inner or self.url) if one]


def _pods_of(body: Body) -> object:
    predictor = body["spec"]["predictor"]
    return [predictor.get(key) for key in ("containers", "serviceAccountName", "imagePullSecrets")]
