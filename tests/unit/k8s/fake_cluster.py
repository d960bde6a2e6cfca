"""A kubectl whose `kustomize` is the real one, and whose cluster is a directory of answers: there is none to be had.

`answers/VERB` holds what it prints, `VERB.err` what it complains of, `VERB.rc` how it ends (0 without it).
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from k8s.kubectl import find_kubectl

SCRIPT = """#!/bin/sh
printf '%s\\n' "$*" >> {answers}/log
case "$1" in kustomize) exec {kubectl} "$@" ;; esac
verb=$1
case "$1 $2" in "get deployment" | "get pods") verb=$2 ;; esac
case "$1" in apply) cat > {answers}/stdin ;; esac
[ -f {answers}/$verb ] && cat {answers}/$verb
[ -f {answers}/$verb.err ] && cat {answers}/$verb.err >&2
[ -f {answers}/$verb.rc ] && exit "$(cat {answers}/$verb.rc)"
exit 0
"""


@dataclass(frozen=True)
class FakeCluster:
    answers: Path

    def answer(self, verb: str, stdout: str = "", stderr: str = "", rc: int = 0) -> None:
        """Let the cluster answer `verb` so."""
        (self.answers / verb).write_text(stdout)
        (self.answers / f"{verb}.err").write_text(stderr)
        (self.answers / f"{verb}.rc").write_text(str(rc))

    def commands(self) -> list[str]:
        """Return the commands that it was given, but for those that render."""
        lines = (self.answers / "log").read_text().splitlines()
        return [line for line in lines if not line.startswith("kustomize ")]

    @property
    def applied(self) -> str:
        """The manifests that it was told to apply."""
        return (self.answers / "stdin").read_text()


def make_fake_kubectl(directory: Path) -> FakeCluster:
    """Write the program `directory/kubectl`; put the directory first on PATH to have it used."""
    answers = directory / "answers"
    answers.mkdir()
    program = directory / "kubectl"
    program.write_text(SCRIPT.format(answers=shlex.quote(str(answers)), kubectl=shlex.quote(find_kubectl())))
    program.chmod(0o755)
    return FakeCluster(answers)
