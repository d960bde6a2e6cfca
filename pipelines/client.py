"""What a cluster keeps for us: pipelines, versions, experiments, runs and schedules, each found by its name."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from kfp_server_api import (
    ExperimentServiceApi,
    PipelineServiceApi,
    PipelineUploadServiceApi,
    RecurringRunServiceApi,
    RunServiceApi,
    V2beta1Experiment,
    V2beta1Pipeline,
    V2beta1PipelineVersion,
    V2beta1RecurringRun,
    V2beta1Run,
)

from oodtune.errors import ClusterError
from pipelines.connection import (
    ConflictError,
    Endpoint,
    NotFoundError,
    UnavailableError,
    open_connection,
    try_again,
)

T = TypeVar("T")


class Client:
    """An API server seen by one login. `namespace` is the user's own where Kubeflow keeps users apart.

    Every method raises ClusterError with one line.
    """

    def __init__(self, endpoint: Endpoint, namespace: str | None = None) -> None:
        connection = open_connection(endpoint)
        self._endpoint = endpoint
        self._in_namespace = {} if namespace is None else {"namespace": namespace}
        self._pipelines = PipelineServiceApi(connection)
        self._uploads = PipelineUploadServiceApi(connection)
        self._experiments = ExperimentServiceApi(connection)
        self._runs = RunServiceApi(connection)
        self._schedules = RecurringRunServiceApi(connection)

    def find_pipeline(self, name: str) -> V2beta1Pipeline | None:
        """Return the pipeline of that name, or None."""
        try:
            return self._pipelines.pipeline_service_get_pipeline_by_name(name, **self._in_namespace)
        except NotFoundError:
            return None

    def ensure_pipeline(self, name: str) -> V2beta1Pipeline:
        """Return the pipeline of that name; make it if there is none."""
        # Not by an upload: that would give the pipeline's name to its first version, too.
        wanted = V2beta1Pipeline(name=name, display_name=name, **self._in_namespace)
        return self.find_pipeline(name) or self._create(
            lambda: self._pipelines.pipeline_service_create_pipeline(wanted), lambda: self.find_pipeline(name)
        )

    def find_version(self, pipeline_id: str, name: str) -> V2beta1PipelineVersion | None:
        """Return the version of that name of a pipeline, or None."""
        listed = self._pipelines.pipeline_service_list_pipeline_versions(pipeline_id, filter=_equals("name", name))
        return next(iter(listed.pipeline_versions or ()), None)

    def upload_version(self, pipeline_id: str, name: str, text: str) -> V2beta1PipelineVersion:
        """Upload the YAML `text` as a version of a pipeline; one of that name is taken as it is."""
        with TemporaryDirectory() as directory:
            path = Path(directory, "pipeline.yaml")
            path.write_text(text, encoding="utf-8")
            return self._create(
                lambda: self._uploads.upload_pipeline_version(
                    str(path), name=name, display_name=name, pipelineid=pipeline_id
                ),
                lambda: self.find_version(pipeline_id, name),
            )

    def find_experiment(self, name: str) -> V2beta1Experiment | None:
        """Return the experiment of that name, or None. Raises ClusterError if it is archived."""
        listed = self._experiments.experiment_service_list_experiments(
            filter=_equals("display_name", name), **self._in_namespace
        )
        found = next(iter(listed.experiments or ()), None)
        if found is not None and found.storage_state == "ARCHIVED":
            raise ClusterError(f"experiment {name}: is archived, and takes no runs; restore it or name another")
        return found

    def ensure_experiment(self, name: str) -> V2beta1Experiment:
        """Return the experiment of that name; make it if there is none."""
        wanted = V2beta1Experiment(display_name=name, **self._in_namespace)
        return self.find_experiment(name) or self._create(
            lambda: self._experiments.experiment_service_create_experiment(wanted), lambda: self.find_experiment(name)
        )

    def start_run(self, run: V2beta1Run) -> V2beta1Run:
        """Start a run. Its display name must be its own: by it, a run is found whose start was not confirmed."""

        def find() -> V2beta1Run | None:
            listed = self._runs.run_service_list_runs(
                experiment_id=run.experiment_id, filter=_equals("display_name", run.display_name)
            )
            return next(iter(listed.runs or ()), None)

        return self._create(lambda: self._runs.run_service_create_run(run), find)

    def get_run(self, run_id: str) -> V2beta1Run:
        """Return a run with the details of its tasks."""
        return self._runs.run_service_get_run(run_id)

    def find_schedules(self, experiment_id: str, name: str) -> list[V2beta1RecurringRun]:
        """Return the schedules of that name in an experiment."""
        listed = self._schedules.recurring_run_service_list_recurring_runs(
            experiment_id=experiment_id, filter=_equals("display_name", name), page_size=100
        )
        return list(listed.recurring_runs or ())

    def create_schedule(self, schedule: V2beta1RecurringRun) -> V2beta1RecurringRun:
        """Start a schedule. Another of that name stays as it is."""
        before = {one.recurring_run_id for one in self.find_schedules(schedule.experiment_id, schedule.display_name)}

        def find() -> V2beta1RecurringRun | None:
            found = self.find_schedules(schedule.experiment_id, schedule.display_name)
            return next((one for one in found if one.recurring_run_id not in before), None)

        return self._create(lambda: self._schedules.recurring_run_service_create_recurring_run(schedule), find)

    def enable_schedule(self, schedule_id: str) -> None:
        """Let a schedule start runs."""
        self._schedules.recurring_run_service_enable_recurring_run(schedule_id)

    def disable_schedule(self, schedule_id: str) -> None:
        """Keep a schedule from starting runs."""
        self._schedules.recurring_run_service_disable_recurring_run(schedule_id)

    def delete_schedule(self, schedule_id: str) -> None:
        """Remove a schedule; its runs stay."""
        try:
            self._schedules.recurring_run_service_delete_recurring_run(schedule_id)
        except NotFoundError:
            return

    def _create(self, create: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Make one thing, and never two: where a request may have done its work, `find` looks before the next.

        A server that only seems dead for longer than the back-off can still make a second one.
        """
        is_unsure = False
        for is_last in try_again(self._endpoint):
            if is_unsure and (found := find()) is not None:
                return found
            try:
                return create()
            except ConflictError:
                if (found := find()) is None:
                    raise
                return found
            except UnavailableError as error:
                if is_last or not error.may_have_acted:
                    raise
                is_unsure = True
        raise AssertionError("the last try returns or raises")


def _equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})
