"""A bundle that is warm and has proven itself, and which one is served now."""

from collections.abc import Callable
from dataclasses import dataclass

from oodtune.bundle import Bundle
from oodtune.serve.refusal import RefusedError


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of the model. Requests that were begun with it end with it."""

    name: str
    version: str
    """The registry's name of it, or the first 12 digits of its digest."""
    bundle: Bundle
    max_batch: int
    """Images in one run: more cost more each, or take too long."""
    image_s: float
    """Seconds of one worker for one image, as the warm-up has measured them."""
    published_s: float | None = None
    """When it was published to its registry, in Unix time; None where it comes from none."""

    @property
    def size(self) -> int:
        """Height and width of its images, in pixels."""
        return self.bundle.preprocess.size


class Served:
    """The model that is served now; `replace` is atomic, and nothing waits for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on_replace: list[Callable[[ServedModel], None]] = []
        """Called with every new model, in the thread that replaces."""
        self._current: ServedModel | None = None

    @property
    def current(self) -> ServedModel:
        """Raises RefusedError while no model is there yet."""
        if self._current is None:
            raise RefusedError("not_ready", "the model is still being loaded; try again in a few seconds", 2)
        return self._current

    @property
    def version(self) -> str | None:
        """Of the current model; None while there is none."""
        return None if self._current is None else self._current.version

    @property
    def is_ready(self) -> bool:
        return self._current is not None

    def replace(self, model: ServedModel) -> None:
        assert model.name == self.name
        for tell in self.on_replace:
            tell(model)
        self._current = model

    def find(self, name: str, version: str = "") -> ServedModel:
        """Return the model of this name and version; an empty version is any. Raises RefusedError if it is unknown."""
        current = self.current
        if name != self.name:
            raise RefusedError("not_found", f"no such model; this server has only {self.name!r}")
        if version not in ("", current.version):
            raise RefusedError("not_found", f"no such version of {self.name!r}; it serves {current.version!r}")
        return current
