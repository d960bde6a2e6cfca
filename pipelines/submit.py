"""Start a pipeline in a cluster."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from kfp_server_api import (
    V2beta1PipelineVersion,
    V2beta1PipelineVersionReference,
    V2beta1Run,
    V2beta1RuntimeConfig,
)

from pipelines.client import Client
from pipelines.compile import Compiled


@dataclass(frozen=True)
class Started:
    """A run that was started."""

    run_id: str
    version: str
    is_new_version: bool


def submit(
    client: Client,
    compiled: Compiled,
    experiment: str,
    service_account: str | None = None,
    data_rev: str | None = None,
) -> Started:
    """Start a run of `compiled` in the experiment of that name; upload it first unless the cluster has it.

    The run gets no argument but `data_rev`: the others are defaults of the version, where Kubeflow does not bound
    their length. `service_account` is what its pods run as; None: the cluster's default. Raises ClusterError.
    """
    version, is_new = ensure_version(client, compiled)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    wanted = V2beta1Run(
        display_name=f"{compiled.version}-{moment}-{secrets.token_hex(4)}",
        experiment_id=client.ensure_experiment(experiment).experiment_id,
        pipeline_version_reference=refer_to(version),
        runtime_config=V2beta1RuntimeConfig(parameters={"data_rev": data_rev}) if data_rev is not None else None,
        service_account=service_account,
    )
    return Started(client.start_run(wanted).run_id, compiled.version, is_new)


def ensure_version(client: Client, compiled: Compiled) -> tuple[V2beta1PipelineVersion, bool]:
    """Return the version that `compiled` is in the cluster, and whether it was uploaded now."""
    pipeline_id = client.ensure_pipeline(compiled.pipeline).pipeline_id
    found = client.find_version(pipeline_id, compiled.version)
    if found is not None:
        return found, False
    return client.upload_version(pipeline_id, compiled.version, compiled.text), True


def refer_to(version: V2beta1PipelineVersion) -> V2beta1PipelineVersionReference:
    """Return the reference by which runs and schedules name a version."""
    return V2beta1PipelineVersionReference(
        pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
    )


def run_link(ui_host: str, run_id: str) -> str:
    """Return the address of a run in Kubeflow's pages."""
    return f"{ui_host.rstrip('/')}/#/runs/details/{run_id}"
