"""Settings of images: where they come from, what is checked, how they are split and decoded."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from oodtune.config.section import Fraction, Section
from oodtune.errors import ConfigError

Policy = Literal["error", "drop", "keep"]


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

    @property
    def repository(self) -> str:
        """The repository's address; of a path only its name, so that artifacts name no machine's folders."""
        address = urlsplit(self.url)
        is_path = address.scheme in ("", "file") and "@" not in self.url
        return PurePosixPath(address.path).name if is_path else self.url

    @model_validator(mode="after")
    def _holds_no_secret_and_stays_inside(self) -> Self:
        for name in ("url", "endpoint_url"):
            address = urlsplit(getattr(self, name) or "")
            if address.password is not None or (address.scheme in ("http", "https") and address.username):
                raise ValueError(f"data.dvc.{name} holds credentials: leave them to the environment or to git")
        if ".." in self.path.split("/"):
            raise ValueError(f"data.dvc.path must stay inside the repository, found {self.path!r}")
        return self


class TableConfig(Section):
    """A metadata file with one row an image, and what its columns are called."""

    file: Path
    """CSV with a header (`source: csv`) or Parquet (`source: parquet`)."""
    path: str = "path"
    """Column of image paths, relative to `data.root`, or to the table's folder if that is null."""
    label: str = "label"
    """Column of class names."""
    domain: str = "domain"
    """Column of domain names."""
    group: str | None = None
    """Column of what must not straddle splits: a patient, a camera sequence; null: none."""


class ChecksConfig(Section):
    """What becomes of each finding: `error` refuses the data, `drop` leaves the images out, `keep` counts them."""

    unreadable: Literal["error", "drop"] = "error"
    """Broken, truncated, of no known format, or with too many pixels."""
    missing_classes: Policy = "error"
    """A class that some domain has no image of; `drop` leaves the class out everywhere."""
    small_cells: Policy = "error"
    """A class of a domain with fewer than `min_cell_size` images; `drop` leaves the class out everywhere."""
    min_cell_size: Annotated[int, Field(ge=2)] = 2
    label_conflicts: Policy = "error"
    """One file under two classes of a domain; `drop` leaves out all of its copies."""
    duplicates_across_domains: Policy = "error"
    """One file in two domains: the target would have been trained on. `drop` leaves out all of its copies."""
    duplicates: Policy = "keep"
    """One file twice in a class of a domain; `drop` leaves all but the first out, `keep` never lets them straddle."""
    near_duplicates: Policy = "keep"
    """Almost one picture twice in a domain; as `duplicates`."""
    near_duplicates_across_domains: Policy = "keep"
    near_duplicate_difference: Annotated[float, Field(ge=0.0, le=32.0)] = 6.0
    """Largest mean difference of two thumbnails, in levels of 0..255, that makes near duplicates; 0: look for none."""
    undivided_cells: Literal["error", "keep"] = "error"
    """A class of a domain whose images are all one group; `keep` trains on it and has none of it to choose by."""
    groups_across_domains: Literal["error", "keep"] = "keep"
    """A group with images in two domains."""
    extreme_aspect: Policy = "keep"
    """Longer side over shorter side above `max_aspect`: squashing it to a square distorts much."""
    max_aspect: Annotated[float, Field(gt=1.0)] = 4.0
    greyscale: Policy = "keep"
    transparency: Policy = "keep"
    cmyk: Policy = "keep"
    deep: Policy = "keep"
    """16 or 32 bits a channel: scaled to 8."""
    rotated: Policy = "keep"
    """Turned upright by their EXIF tag."""


class DataConfig(Section):
    source: Literal["csv", "dvc", "emoji-domains", "folder", "parquet", "synthetic"] = "emoji-domains"
    root: Path | None = None
    """Folder `root/<domain>/<class>/<image>` (folder), or what a table's paths are relative to (csv, parquet)."""
    table: TableConfig | None = None
    """The metadata file of `source: csv` and `source: parquet`."""
    dvc: DvcConfig | None = None
    """Which revision of which repository; for `source: dvc` only."""
    recipe: Literal["pacs", "vlcs", "officehome", "terraincognita", "domainnet", "sviro"] | None = None
    """A benchmark that the images must be, counted domain by domain; null checks nothing of the kind."""
    exclude: Path | None = None
    """Text file of images to leave out, one `<domain>/<class>/<file>` a line; for `source: folder` only."""
    limit_per_cell: Annotated[int, Field(ge=2)] | None = None
    """At most this many images of each class of each domain; null takes all."""
    group_pattern: str | None = None
    """Regular expression on `<domain>/<class>/<file>`: images whose match (its first group, if it has one) is
    equal never straddle splits; null: none."""
    checks: ChecksConfig = ChecksConfig()
    out_fraction: Fraction = 0.2
    """Share of each class of each domain that is never trained on (the out-split)."""
    test_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share that is neither trained on nor chosen by (the test-split): iid accuracy is then measured on it."""
    split_seed: int = 0

    def without_places(self) -> Self:
        """Return the same settings with the names of files and folders only: images are the same wherever they lie."""
        named: dict[str, object] = {
            "root": self.root and Path(self.root.name),
            "exclude": self.exclude and Path(self.exclude.name),
            "table": self.table and self.table.model_copy(update={"file": Path(self.table.file.name)}),
            "dvc": self.dvc and self.dvc.model_copy(update={"url": self.dvc.repository}),
        }
        return self.model_copy(update=named)

    @property
    def is_fixed(self) -> bool:
        """True if these settings mean the same images for ever: not those of folders, tables, branches and tags."""
        return self.source in ("emoji-domains", "synthetic") or (
            self.dvc is not None and re.fullmatch(r"[0-9a-f]{40}", self.dvc.rev) is not None
        )

    def at_revision(self, rev: str) -> Self:
        """Return the same settings with `rev` in place of `dvc.rev`. Raises ConfigError for any other source."""
        if self.dvc is None:
            raise ConfigError(
                f"data.source: expected dvc for the revision {rev!r}, found {self.source}, which has no revisions; "
                "leave the revision out"
            )
        return self.model_copy(update={"dvc": self.dvc.model_copy(update={"rev": rev})})

    @field_validator("group_pattern")
    @classmethod
    def _is_a_regular_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"data.group_pattern: expected a regular expression, found {pattern!r}: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _source_has_its_own_settings(self) -> Self:
        tabular = self.source in ("csv", "parquet")
        if self.source == "folder" and self.root is None:
            raise ValueError("data.root is the folder of `source: folder`: set both or neither")
        if self.root is not None and not (tabular or self.source == "folder"):
            raise ValueError(f"data.root belongs to the sources folder, csv and parquet, found source {self.source!r}")
        if self.exclude is not None and self.source != "folder":
            raise ValueError(f"data.exclude leaves out images of `source: folder`, found source {self.source!r}")
        if (self.source == "dvc") != (self.dvc is not None):
            raise ValueError("data.dvc is the repository of `source: dvc`: set both or neither")
        if tabular != (self.table is not None):
            raise ValueError("data.table is the file of `source: csv` and `source: parquet`: set both or neither")
        if self.table is not None and self.table.group is not None and self.group_pattern is not None:
            raise ValueError("data.group_pattern and data.table.group both name groups: set one of them")
        if self.out_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"data.out_fraction and data.test_fraction leave nothing to train on: expected a sum below 1, "
                f"found {self.out_fraction:g} and {self.test_fraction:g}"
            )
        return self


class PreprocessConfig(Section):
    """How an encoded image becomes pixels, in training, evaluation and serving alike."""

    size: Annotated[int, Field(ge=16, le=1024)] = 96
    """Height and width in pixels; images are squashed to it, as in DomainBed's evaluation."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
