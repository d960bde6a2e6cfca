import subprocess
import sys
from pathlib import Path

from oodtune.locks import lock_file

HOLD = """
import sys
from pathlib import Path
from oodtune.locks import lock_file
with lock_file(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_taken_while_a_process_holds_it_and_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with lock_file(path, wait=False) as state:
        assert state == "taken"
    holder.kill()
    holder.communicate()
    with lock_file(path, wait=False) as state:
        assert state == "ours"


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_file(tmp_path / "lock", wait=False) as state:
            assert state == "ours"
