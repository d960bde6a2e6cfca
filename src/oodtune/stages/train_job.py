"""`cache` + `init` -> `trial`, on several nodes: a TrainJob of Kubeflow Trainer trains it on the shared volume."""

import re
import sys
from pathlib import Path, PurePosixPath

from oodtune.artifact import MANIFEST, open_artifact
from oodtune.config import ResourcesConfig, StageParams
from oodtune.errors import ConfigError
from oodtune.stages.planned import LogMetric, PlannedTrial, keep_trial

MAX_NAME = 45
"""Kubernetes puts `-node-0-` and the node's number behind a job's name: 63 characters in all."""


class Params(StageParams):
    resources: ResourcesConfig


def run(
    cache: Path | str,
    init: Path | str,
    out: Path | str,
    item: str,
    image: str,
    params: Params,
    shared_dir: Path | str,
    metrics: LogMetric = lambda name, value: None,
    namespace: str | None = None,
    kubeconfig: Path | None = None,
    poll_s: float = 5.0,
) -> None:
    """Train the trial that `plan.run` described as `item` on `params.resources.nodes` nodes: a `trial`.

    It is made in `shared_dir`, with a reference to it at `out`; that and the inputs must lie on the volume of
    `params.resources`, which all nodes mount where this process does. Whoever runs the same again goes on with the
    job that runs, or starts a failed one anew from its newest checkpoint. As with `planned.run`, a trial that
    cannot go on leaves its reason in `out`; if a signal stops it, the job is deleted, and this exits as the command
    line does. Raises ClusterError, in one line, if the cluster is at fault.
    """
    opened_cache = open_artifact(Path(cache), "cache", verify=False)
    opened_init = open_artifact(Path(init), "init", verify=False)
    where = (params.resources, namespace, kubeconfig, poll_s)

    def make(place: Path) -> None:
        train_on_nodes(opened_cache.path, opened_init.path, place, item, image, *where)

    keep_trial(PlannedTrial.from_json(item), cache, init, out, shared_dir, metrics, make)


def train_on_nodes(
    cache: Path,
    init: Path,
    out: Path,
    item: str,
    image: str,
    resources: ResourcesConfig,
    namespace: str | None = None,
    kubeconfig: Path | None = None,
    poll_s: float = 5.0,
) -> None:
    """Train the trial `item` to `out` by a TrainJob whose name follows from `out`, and wait for its end.

    Raises TrainingError with the trial's own words, ClusterError if the cluster is at fault, ConfigError if a path is
    not on the shared volume, and Stopped after a signal.
    """
    from oodtune.cluster.connection import connect
    from oodtune.cluster.train_job import Job, TrainJobRun
    from oodtune.train.stop import listen_for_stop

    paths = {name: _on_volume(path, resources) for name, path in (("cache", cache), ("init", init), ("out", out))}
    flags = [part for name, path in paths.items() for part in (f"--{name}", path)]
    device = "cuda" if resources.request("train").gpus else "cpu"  # a GPU that is not there must not go unnoticed
    arguments = ["-m", "oodtune", "train-planned", *flags, "--device", device, "--item", item]
    job = Job(job_name(out.name), image, arguments, resources, is_made=(out / MANIFEST).exists)
    with listen_for_stop() as stop:
        TrainJobRun(connect(namespace, kubeconfig), job, _say, lambda: stop.signal, poll_s).run()
    open_artifact(out, "trial", verify=False)  # what ended well must have left its work here


def job_name(place: str) -> str:
    """Return the name of the TrainJob that writes to a directory called `place`; its end tells places apart."""
    words = re.sub(r"[^a-z0-9]+", "-", f"oodtune-{place}".lower()).strip("-")
    if len(words) <= MAX_NAME:
        return words
    head, _, key = words.rpartition("-")
    return f"{head[: MAX_NAME - len(key) - 1].strip('-')}-{key}"


def _on_volume(path: Path, resources: ResourcesConfig) -> str:
    """Return the path as the nodes see it."""
    volume = resources.volume
    if volume is None:
        raise ConfigError("resources.volume: expected the volume that all nodes of a trial mount, found null; set it")
    resolved = PurePosixPath(path.resolve())
    if not resolved.is_relative_to(Path(volume.mount_path).resolve()):
        raise ConfigError(
            f"{path}: expected a path on the volume at {volume.mount_path}, which all nodes of a trial mount; make the "
            "artifact there"
        )
    return str(resolved)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
