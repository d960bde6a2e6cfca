"""Runs of a pipeline at fixed times. A schedule is known by its name within its experiment."""

import re
from dataclasses import dataclass
from typing import Literal

from kfp_server_api import RecurringRunMode, V2beta1CronSchedule, V2beta1RecurringRun, V2beta1Trigger

from oodtune.errors import UserError
from pipelines.client import Client
from pipelines.compile import Compiled
from pipelines.connection import NotFoundError
from pipelines.submit import ensure_version, refer_to

Change = Literal["created", "replaced", "enabled", "unchanged"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_PART = re.compile(r"(?:\*|\?|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")


@dataclass(frozen=True)
class Schedule:
    """When and as whom a pipeline runs."""

    name: str
    experiment: str
    cron: str
    """Six fields: see `parse_cron`."""
    service_account: str | None = None
    """None: the cluster's default."""


def parse_cron(text: str) -> str:
    """Return a time table as the six fields that Kubeflow reads: second, minute, hour, day, month, day of the week.

    Five fields, as everywhere else, get second 0: Kubeflow itself would take the minutes for seconds.
    Raises UserError.
    """
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise UserError(f"--cron {text!r}: expected 5 or 6 fields such as '0 3 * * *', found {len(fields)}")
    for value, (name, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        if not all(_is_part(part, lowest, highest, names) for part in value.split(",")):
            words = f", {names[0]}-{names[-1]}" if names else ""
            raise UserError(
                f"--cron {text!r}: expected the {name} as *, {lowest}-{highest}{words}, a range, a step or a list "
                f"of these, found {value!r}"
            )
    return " ".join(fields)


def schedule(client: Client, compiled: Compiled, wanted: Schedule, replace: bool = False) -> Change:
    """Let `compiled` run as `wanted`, once at a time and without catching up on what was missed.

    A schedule of that name which is the same is left alone, or enabled again. Another is replaced if `replace`
    says so. Raises UserError otherwise.
    """
    version, _ = ensure_version(client, compiled)
    new = V2beta1RecurringRun(
        display_name=wanted.name,
        experiment_id=client.ensure_experiment(wanted.experiment).experiment_id,
        pipeline_version_reference=refer_to(version),
        service_account=wanted.service_account,
        trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=wanted.cron)),
        max_concurrency="1",
        no_catchup=True,
        mode=RecurringRunMode.ENABLE,
    )
    found = client.find_schedules(new.experiment_id, wanted.name)
    differences = _differences(found, new)
    if found and not differences:
        return _enable(client, found[0])
    if found and not replace:
        raise UserError(
            f"schedule {wanted.name}: exists and differs ({'; '.join(differences)}); pass --replace or another --name"
        )
    # The new one first: if the cluster refuses it, the old one still runs.
    client.create_schedule(new)
    for old in found:
        client.delete_schedule(old.recurring_run_id)
    return "replaced" if found else "created"


def disable(client: Client, experiment: str, name: str) -> None:
    """Keep the schedule of that name from starting runs. Raises NotFoundError if there is none."""
    for one in _find(client, experiment, name):
        client.disable_schedule(one.recurring_run_id)


def delete(client: Client, experiment: str, name: str) -> None:
    """Remove the schedule of that name; its runs stay. Raises NotFoundError if there is none."""
    for one in _find(client, experiment, name):
        client.delete_schedule(one.recurring_run_id)


def _find(client: Client, experiment: str, name: str) -> list[V2beta1RecurringRun]:
    found = client.find_experiment(experiment)
    schedules = client.find_schedules(found.experiment_id, name) if found is not None else []
    if not schedules:
        raise NotFoundError(f"schedule {name}: expected one in the experiment {experiment}, found none")
    return schedules


def _enable(client: Client, found: V2beta1RecurringRun) -> Change:
    if found.status != "DISABLED":
        return "unchanged"
    client.enable_schedule(found.recurring_run_id)
    return "enabled"


def _differences(found: list[V2beta1RecurringRun], new: V2beta1RecurringRun) -> list[str]:
    """Return what is other in the schedules that were found, in words."""
    if len(found) > 1:
        return [f"there are {len(found)} of that name"]
    pairs = [
        (what, old, wanted)
        for one in found
        for what, old, wanted in (
            ("cron", _cron(one), _cron(new)),
            ("version", _version_id(one), _version_id(new)),
            # A cluster fills in its own default where none is asked for.
            ("service account", one.service_account if new.service_account else None, new.service_account),
        )
    ]
    return [f"{what} {old}, not {wanted}" for what, old, wanted in pairs if old != wanted]


def _cron(one: V2beta1RecurringRun) -> str | None:
    trigger = one.trigger
    return trigger.cron_schedule.cron if trigger is not None and trigger.cron_schedule is not None else None


def _version_id(one: V2beta1RecurringRun) -> str | None:
    reference = one.pipeline_version_reference
    return reference.pipeline_version_id if reference is not None else None


def _is_part(text: str, lowest: int, highest: int, names: tuple[str, ...]) -> bool:
    found = _PART.fullmatch(text)
    if found is None:
        return False
    if found["first"] is None:
        return True
    first = _number(found["first"], lowest, names)
    last = first if found["last"] is None else _number(found["last"], lowest, names)
    return first is not None and last is not None and lowest <= first <= last <= highest


def _number(text: str, lowest: int, names: tuple[str, ...]) -> int | None:
    if text.lower() in names:
        return names.index(text.lower()) + lowest
    return int(text) if text.isascii() and text.isdigit() else None
