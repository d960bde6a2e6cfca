"""Settings of images: where they come from, what is checked, how they are split and decoded."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from oodtune.config.section import Fraction, Section


class DvcConfig(Section):
    """One revision of images in a DVC repository. Credentials come from the environment, never from here."""

    url: Annotated[str, Field(min_length=1)]
    """A git repository: address or path."""
    rev: Annotated[str, Field(min_length=1)]
    """Branch, tag or commit."""
    path: Annotated[str, Field(pattern=r"^[^/\\]")] = "."
    """The directory in the repository that holds `<domain>/<class>/<image>`."""
    remote: str | None = None
    """A remote named in the repository's DVC config; null: its default."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Address of the S3 service, instead of the one in the repository's DVC config."""

    @model_validator(mode="after")
    def _holds_no_secret_and_stays_inside(self) -> Self:
        for name in ("url", "endpoint_url"):
            address = urlsplit(getattr(self, name) or "")
            if address.password is not None or (address.scheme in ("http", "https") and address.username):
                raise ValueError(f"data.dvc.{name} holds credentials: leave them to the environment or to git")
        if ".." in self.path.split("/"):
            raise ValueError(f"data.dvc.path must stay inside the repository, found {self.path!r}")
        return self


class DataConfig(Section):
    source: Literal["dvc", "emoji-domains", "folder", "synthetic"] = "emoji-domains"
    root: Path | None = None
    """Folder `root/<domain>/<class>/<image>`; for `source: folder` only."""
    dvc: DvcConfig | None = None
    """Which revision of which repository; for `source: dvc` only."""
    recipe: Literal["pacs", "vlcs", "officehome", "terraincognita", "domainnet", "sviro"] | None = None
    """A benchmark that the images must be, counted domain by domain; null checks nothing of the kind."""
    exclude: Path | None = None
    """Text file of images to leave out, one `<domain>/<class>/<file>` a line; for `source: folder` only."""
    limit_per_cell: Annotated[int, Field(ge=2)] | None = None
    """At most this many images of each class of each domain; null takes all."""
    out_fraction: Fraction = 0.2
    """Share of each class of each domain that is never trained on (the out-split)."""
    split_seed: int = 0

    @model_validator(mode="after")
    def _source_has_its_own_settings(self) -> Self:
        if (self.source == "folder") != (self.root is not None):
            raise ValueError("data.root is the folder of `source: folder`: set both or neither")
        if self.exclude is not None and self.source != "folder":
            raise ValueError(f"data.exclude leaves out images of `source: folder`, found source {self.source!r}")
        if (self.source == "dvc") != (self.dvc is not None):
            raise ValueError("data.dvc is the repository of `source: dvc`: set both or neither")
        return self


class PreprocessConfig(Section):
    """How an encoded image becomes pixels, in training, evaluation and serving alike."""

    size: Annotated[int, Field(ge=16, le=1024)] = 96
    """Height and width in pixels; images are squashed to it, as in DomainBed's evaluation."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
