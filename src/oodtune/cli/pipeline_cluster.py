"""`oodtune pipeline submit | schedule | status`: pipelines in a cluster."""

import dataclasses
import json
import os
import shlex
import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from oodtune.cli.pipeline_options import (
    ImageOption,
    NameArgument,
    NoCacheOption,
    ParamsOption,
    ProjectOption,
    compile_settings,
    import_from,
)
from oodtune.errors import Stopped, UserError

TOKEN_VARIABLE = "OODTUNE_KFP_TOKEN"  # noqa: S105 (the name of a variable)
COOKIES_VARIABLE = "OODTUNE_KFP_COOKIES"
EXIT_FAILED, EXIT_CANCELED, EXIT_TIMEOUT = 1, 3, 4

HostOption = Annotated[
    str,
    typer.Option(
        "--host",
        envvar="KF_PIPELINES_ENDPOINT",
        help="Kubeflow Pipelines, such as https://kubeflow.example.com/pipeline or http://localhost:8888.",
    ),
]
UiHostOption = Annotated[str | None, typer.Option(help="Where people see runs, if not at --host.")]
NamespaceOption = Annotated[
    str | None, typer.Option(help="Your namespace, where Kubeflow keeps users apart; else leave it out.")
]
TokenFileOption = Annotated[
    Path | None, typer.Option(help=f"File that holds a bearer token; or put the token in ${TOKEN_VARIABLE}.")
]
CookiesFileOption = Annotated[
    Path | None,
    typer.Option(help=f"File that holds the cookies of a browser's login (a=b; c=d); or ${COOKIES_VARIABLE}."),
]
ServiceAccountTokenOption = Annotated[
    bool, typer.Option("--service-account-token", help="In a pod: log in by the token of its projected volume.")
]
CaFileOption = Annotated[Path | None, typer.Option(help="Certificates to trust in place of the public ones.")]
ExperimentOption = Annotated[str, typer.Option(help="Experiment that groups the runs; made if there is none.")]
ServiceAccountOption = Annotated[
    str | None, typer.Option(help="Service account of the run's pods, in place of resources.service_account.")
]
PollOption = Annotated[float, typer.Option("--poll-s", min=0.05, help="Seconds between two looks at the run.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout-s", min=0, help="Seconds to wait at most; the run goes on after that.")
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `oodtune pipeline`."""
    app.command("submit")(submit)
    app.command("schedule")(schedule)
    app.command("status")(status)


def submit(
    host: HostOption,
    name: NameArgument = "sweep",
    experiment: ExperimentOption = "oodtune",
    namespace: NamespaceOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show the tasks until the run ends; its end is the exit code.")
    ] = False,
    data_rev: Annotated[str | None, typer.Option(help="Revision of the data, in place of data.dvc.rev.")] = None,
    params: ParamsOption = None,
    image: ImageOption = None,
    no_cache: NoCacheOption = False,
    service_account: ServiceAccountOption = None,
    token_file: TokenFileOption = None,
    cookies_file: CookiesFileOption = None,
    service_account_token: ServiceAccountTokenOption = False,
    ca_file: CaFileOption = None,
    ui_host: UiHostOption = None,
    poll_s: PollOption = 10.0,
    timeout_s: TimeoutOption = None,
    project: ProjectOption = Path(),
) -> None:
    """Run a pipeline in a cluster.

    Uploads it as a version named by commit and content, unless the cluster has that one, and starts a run.
    Exit codes with --wait: 0 succeeded, 1 failed, 3 cancelled, 4 not ended in --timeout-s.
    """
    client = _connect(project, host, namespace, _Login(token_file, cookies_file, service_account_token), ca_file)
    config, compiled = compile_settings(name, params, project, image, no_cache)
    submitting = import_from(project, "pipelines.submit")
    account = service_account or config.resources.service_account
    started = submitting.submit(client, compiled, experiment, account, data_rev)
    typer.echo(f"version: {started.version} ({'uploaded' if started.is_new_version else 'already there'})")
    typer.echo(f"run: {started.run_id}")
    typer.echo(f"link: {submitting.run_link(ui_host or host, started.run_id)}")
    if wait:
        _follow(project, client, started.run_id, host, poll_s, timeout_s)


def schedule(
    host: HostOption,
    name: NameArgument = "retrain",
    cron: Annotated[
        str | None,
        typer.Option(help="When to run, as minute, hour, day, month, day of the week; or with seconds before them."),
    ] = None,
    schedule_name: Annotated[
        str | None, typer.Option("--name", help="Name of the schedule; without it, oodtune- and the pipeline's.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a schedule of that name that differs.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Keep the schedule, but start nothing.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the schedule; its runs stay.")] = False,
    experiment: ExperimentOption = "oodtune",
    namespace: NamespaceOption = None,
    params: ParamsOption = None,
    image: ImageOption = None,
    no_cache: NoCacheOption = False,
    service_account: ServiceAccountOption = None,
    token_file: TokenFileOption = None,
    cookies_file: CookiesFileOption = None,
    service_account_token: ServiceAccountTokenOption = False,
    ca_file: CaFileOption = None,
    project: ProjectOption = Path(),
) -> None:
    """Run a pipeline in a cluster again and again.

    One run at a time; times are those of the cluster (UTC, unless its administrator chose others). The same
    call twice makes one schedule; --cron enables one that was disabled.
    """
    if sum((cron is not None, disable, delete)) != 1:
        raise UserError("expected exactly one of --cron, --disable and --delete")
    scheduling = import_from(project, "pipelines.schedule")
    times = None if cron is None else scheduling.parse_cron(cron)
    schedule_name = schedule_name or f"oodtune-{name}"
    client = _connect(project, host, namespace, _Login(token_file, cookies_file, service_account_token), ca_file)
    if times is None:
        (scheduling.delete if delete else scheduling.disable)(client, experiment, schedule_name)
        typer.echo(f"schedule: {schedule_name} ({'deleted' if delete else 'disabled'})")
        return
    config, compiled = compile_settings(name, params, project, image, no_cache)
    wanted = scheduling.Schedule(schedule_name, experiment, times, service_account or config.resources.service_account)
    change = scheduling.schedule(client, compiled, wanted, replace)
    typer.echo(f"version: {compiled.version}")
    typer.echo(f"schedule: {schedule_name} ({change}; {times})")


def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `submit` prints it.")],
    host: HostOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end, as `submit --wait` does.")] = False,
    namespace: NamespaceOption = None,
    token_file: TokenFileOption = None,
    cookies_file: CookiesFileOption = None,
    service_account_token: ServiceAccountTokenOption = False,
    ca_file: CaFileOption = None,
    ui_host: UiHostOption = None,
    poll_s: PollOption = 10.0,
    timeout_s: TimeoutOption = None,
    project: ProjectOption = Path(),
) -> None:
    """Show a run in a cluster: its state and its tasks.

    Exit code 0 whatever the state; with --wait, those of `submit --wait`.
    """
    client = _connect(project, host, namespace, _Login(token_file, cookies_file, service_account_token), ca_file)
    if wait:
        _follow(project, client, run, host, poll_s, timeout_s)
        return
    link = import_from(project, "pipelines.submit").run_link(ui_host or host, run)
    described = import_from(project, "pipelines.follow").describe(client.get_run(run), link)
    typer.echo(json.dumps(described, indent=2) if as_json else _as_table(described))


@dataclasses.dataclass(frozen=True)
class _Login:
    token_file: Path | None
    cookies_file: Path | None
    service_account_token: bool


def _connect(project: Path, host: str, namespace: str | None, login: _Login, ca_file: Path | None) -> Any:
    connection = import_from(project, "pipelines.connection")
    endpoint = connection.Endpoint(
        host,
        connection.Login(
            token=_secret("--token-file", login.token_file, TOKEN_VARIABLE),
            cookies=_secret("--cookies-file", login.cookies_file, COOKIES_VARIABLE),
            service_account_token=login.service_account_token,
        ),
        ca_file,
    )
    return import_from(project, "pipelines.client").Client(endpoint, namespace)


def _secret(option: str, path: Path | None, variable: str) -> str | None:
    """Return the secret in a file, or else in an environment variable; never from the command line, which all see."""
    if path is None:
        return os.environ.get(variable) or None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} {path}: expected a file of text, found none that can be read ({error})") from None
    if not text or not text.isprintable():
        raise UserError(f"{option} {path}: expected one line, found {'none' if not text else 'several'}")
    return text


def _follow(project: Path, client: Any, run_id: str, host: str, poll_s: float, timeout_s: float | None) -> None:
    from oodtune.progress import progress_bar

    following = import_from(project, "pipelines.follow")
    again = f"follow it with `oodtune pipeline status {run_id} --wait --host {shlex.quote(host)}`"
    try:
        with progress_bar("tasks") as report:
            patience = following.Patience(poll_s, timeout_s)
            run = following.follow(client, run_id, patience, _show, report)
    except KeyboardInterrupt:
        raise Stopped(f"run {run_id} goes on; {again}", signal.SIGINT) from None
    if run is None:
        _show(f"run {run_id} has not ended after {timeout_s:g} s, and goes on; {again}")
        raise typer.Exit(EXIT_TIMEOUT)
    typer.echo(f"state: {run.state.lower()}")
    if run.state == "FAILED":
        for failure in following.failures_of(run):
            _show(f"failed: {failure.task}: {failure.message}")
        raise typer.Exit(EXIT_FAILED)
    if run.state == "CANCELED":
        raise typer.Exit(EXIT_CANCELED)


def _show(line: str) -> None:
    typer.echo(line, err=True)


def _as_table(described: dict[str, Any]) -> str:
    lines = [f"{key}: {described[key]}" for key in ("run", "name", "state", "link")]
    width = max((len(task["name"]) for task in described["tasks"]), default=0)
    lines += [f"  {one['name']:<{width}}  {one['state']:<10} {_duration(one)}".rstrip() for one in described["tasks"]]
    lines += [f"failed: {failure['task']}: {failure['message']}" for failure in described["failures"]]
    return "\n".join(lines)


def _duration(task: dict[str, Any]) -> str:
    """Return how long a task took, or nothing while it runs."""
    if task["started"] is None or task["ended"] is None:
        return ""
    return str(datetime.fromisoformat(task["ended"]) - datetime.fromisoformat(task["started"]))
