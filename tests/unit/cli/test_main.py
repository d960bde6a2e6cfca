import subprocess
import sys

from oodtune import __version__


def test_the_module_is_the_console_script() -> None:
    command = [sys.executable, "-m", "oodtune", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{__version__}\n"
