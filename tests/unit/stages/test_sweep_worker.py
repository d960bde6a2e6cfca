"""What a process of a sweep tells of its trial, in this process. Real processes: tests/e2e."""

import json
import shutil
import signal
import threading
from pathlib import Path

import pytest

from oodtune.artifact import open_artifact
from oodtune.locks import lock_file
from oodtune.stages import train
from oodtune.stages.sweep_crew import describe_end
from oodtune.stages.sweep_plan import partial_of
from oodtune.stages.sweep_worker import TRACE, Message, Task, work
from oodtune.trial import plan_trials
from tests.unit.stages.conftest import Road

pytestmark = pytest.mark.xdist_group("road")


@pytest.fixture
def task(road: Road, tmp_path: Path) -> Task:
    trial = plan_trials(road.config.sweep)[0]
    params = train.Params.for_trial(road.config, trial)
    return Task(cache=road.cache, init=road.init, out=tmp_path / trial.name, trial=trial, params=params, device="cpu")


def nobody(message: Message) -> None: ...


def test_a_task_is_the_same_after_its_way_to_a_process(task: Task) -> None:
    assert Task.from_json(task.to_json()) == task
    assert "\n" not in task.to_json()


def test_a_trial_tells_its_steps_and_then_that_it_is_finished(task: Task) -> None:
    told: list[Message] = []
    assert work(task, told.append) == Message(state="finished")
    assert {(one.state, one.total) for one in told} == {("running", 6)}
    assert told[-1].done == 6
    assert "loss" in told[-1].text
    open_artifact(task.out, "trial")


def test_what_a_user_can_mend_is_told_as_training_says_it(task: Task) -> None:
    lost = task.model_copy(update={"trial": task.trial.model_copy(update={"target_domain": "nowhere"})})
    last = work(lost, nobody)
    assert last.state == "failed"
    assert "found only ['inverted', 'plain']" in last.text


def test_a_bug_is_one_line_and_its_trace_is_kept(road: Road, task: Task, tmp_path: Path) -> None:
    shutil.copytree(road.cache, tmp_path / "cache")
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text(encoding="utf-8"))
    del manifest["details"]["domains"]
    (tmp_path / "cache" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    last = work(task.model_copy(update={"cache": tmp_path / "cache"}), nobody)
    trace = partial_of(task.out) / TRACE
    assert last == Message(state="failed", text=f"a bug (KeyError: 'domains'); please report it with {trace}")
    assert "Traceback" in trace.read_text(encoding="utf-8")


def test_a_trial_waits_for_the_last_writes_of_a_sweep_that_was_killed(task: Task) -> None:
    partial = partial_of(task.out)
    partial.mkdir()
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock_file(partial / "lock", wait=True):
            locked.set()
            done.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    assert work(task, nobody).state == "finished"
    thread.join()


@pytest.mark.parametrize(
    ("code", "concurrency", "words"),
    [
        (-signal.SIGKILL, 2, "lower --concurrency (it is 2), and run the same command again"),
        (-signal.SIGKILL, 1, "lower train.batch_per_domain, and run the same command again"),
        (-signal.SIGSEGV, 2, "ended by SIGSEGV; run the same command again"),
        (-signal.SIGTERM, 2, "ended by SIGTERM; run the same command again"),
        (3, 2, "ended with code 3 and no word; run the same command again"),
    ],
)
def test_an_end_without_a_word_is_explained(code: int, concurrency: int, words: str) -> None:
    message = describe_end(code, concurrency, stopping=False)
    assert message.state == "failed"
    assert words in message.text


def test_a_process_that_was_asked_to_stop_did_not_fail() -> None:
    assert describe_end(-signal.SIGTERM, 2, stopping=True).state == "stopped"
    assert describe_end(-signal.SIGKILL, 2, stopping=True).state == "failed"
