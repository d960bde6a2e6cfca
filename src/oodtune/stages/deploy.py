"""A published version -> the endpoint that serves it, on KServe."""

import re
import sys
from pathlib import Path

from oodtune.config.deploy import DeployConfig
from oodtune.config.params import StageParams
from oodtune.errors import ConfigError

_VERSION = re.compile(r".+-([0-9a-f]{12,64})/?")
"""The address of a version ends with the first digits of its digest."""


class Params(StageParams):
    deploy: DeployConfig


def run(
    version: str,
    params: Params,
    namespace: str | None = None,
    kubeconfig: Path | None = None,
    poll_s: float = 2.0,
) -> str:
    """Deploy the version at the address `version`, as `publish.run` returns it; return the endpoint's public address.

    Returns "" where nothing is to be deployed. The same version again changes nothing and asks the endpoint once
    more. `namespace` goes before the settings' one; `kubeconfig` before the pod's own account and the user's file.
    Raises ConfigError if there is no version, ClusterError if it does not come up or does not answer, and Stopped
    after SIGTERM or SIGINT: in both cases what was served before is back.
    """
    from oodtune.cluster.connection import connect
    from oodtune.cluster.rollout import Rollout
    from oodtune.train.stop import listen_for_stop

    config = params.deploy
    if config.service is None:
        return ""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ConfigError(
            f"deploy.service: expected the address of a published version, such as "
            f"s3://bucket/model/versions/000001-0123456789ab, found {version!r}; set where to publish to"
        )
    cluster = connect(namespace or config.namespace, kubeconfig)
    with listen_for_stop() as stop:
        rollout = Rollout(cluster, config, version, found[1], say=_say, stop=lambda: stop.signal, poll_s=poll_s)
        url = rollout.run()
    _say(f"{config.service}: {version} answers at {url}")
    return url


def _say(text: str) -> None:
    print(text, file=sys.stderr)
