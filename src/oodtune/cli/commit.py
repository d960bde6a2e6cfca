"""The commit of the project in the current directory."""

import subprocess


def current_commit() -> str | None:
    """Return the commit checked out here, with `-dirty` if tracked files differ; None without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
