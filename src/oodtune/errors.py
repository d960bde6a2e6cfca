"""The errors a user can cause. Each message says what was expected, what came and what to do."""


class UserError(ValueError):
    """Something outside our code is wrong: the CLI prints it as one line and exits with code 2."""


class ConfigError(UserError):
    """`params.yaml` holds an unknown key, a wrong type or a value out of range."""


class DataError(UserError):
    """Images, labels or domains are not what training can use."""


class ArtifactError(UserError):
    """A directory is not the finished, unaltered artifact that was asked for."""


class TrainingError(UserError):
    """Training cannot go on (for example, the loss is not finite)."""


class SelectionError(UserError):
    """No model meets what `select` asks for: none is chosen."""


class ParityError(UserError):
    """An exported model does not predict what the evaluated model predicted."""


class RegistryError(UserError):
    """The registry cannot be used, or does not hold what was asked for."""


class ClusterError(UserError):
    """A cluster cannot be used, refuses what was asked of it, or did not do it."""


class Stopped(Exception):  # noqa: N818  (nothing is wrong)
    """A signal asked for an end, and the work so far is safe: the CLI prints it and exits with 128 + the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
