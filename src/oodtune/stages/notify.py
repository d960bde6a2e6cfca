"""The end of a run, told to people: in a few lines, and to an address if there is one."""

import json
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import Protocol
from urllib.error import HTTPError

from oodtune.config import NotifyConfig, StageParams

ATTEMPTS = 3
PAUSE_S = 1.0
"""After the first attempt; twice that after the second."""
TIMEOUT_S = 10.0


class FinalStatus(Protocol):
    """What Kubeflow says of a run that ended."""

    state: str
    """SUCCEEDED, FAILED or CANCELLED."""
    pipeline_job_resource_name: str
    """Name of the run."""
    error_message: str | None


class Params(StageParams):
    notify: NotifyConfig


def run(status: FinalStatus, params: Params, about: str, out: Path | str) -> None:
    """Write how the run ended as Markdown to `out`, and post it as JSON to `notify.url`.

    The JSON has a `text`, which chat services show, and the same facts one by one. `about` says which settings the
    run was of. An address that does not answer is named on stderr: how a run ended does not depend on who heard of it.
    """
    facts = {
        "run": status.pipeline_job_resource_name,
        "state": status.state,
        "about": about,
        "error": status.error_message or "",
    }
    text = f"oodtune: {facts['run']} {facts['state'].lower()} ({about})"
    if facts["error"]:
        text += f": {facts['error']}"
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(_write_out(facts), encoding="utf-8")
    print(text)
    if params.notify.url is not None:
        _post(params.notify.url, {"text": text, **facts})


def _write_out(facts: dict[str, str]) -> str:
    lines = [f"# {facts['state'].capitalize()}: {facts['run']}", "", facts["about"], ""]
    if facts["error"]:
        lines += ["```text", facts["error"], "```", ""]
    return "\n".join(lines)


def _post(url: str, body: dict[str, str]) -> None:
    headers = {"content-type": "application/json"}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 (http or https)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
                return
        except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
            problem = str(error)
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            if attempt < ATTEMPTS:
                sleep(PAUSE_S * attempt)
    host = url.split("/")[2].rpartition("@")[2]  # what follows it is a secret in the addresses of chat services
    print(f"warning: expected {host} to take the news, found: {problem}; nobody was told there", file=sys.stderr)
