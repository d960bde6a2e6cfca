"""Settings of the registry: where finished bundles are published."""

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from oodtune.config.section import Section

_SEGMENT: Final = r"[A-Za-z0-9_][A-Za-z0-9._=-]*"
BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
FOLDER: Final = rf"{_SEGMENT}(?:/{_SEGMENT})*"


class PublishConfig(Section):
    """Where `oodtune publish` puts a bundle. Credentials come from the environment, never from here."""

    url: Annotated[str, Field(pattern=rf"^s3://{BUCKET}(/{FOLDER})?/?$")] | None = None
    """Bucket and folder of the registry, as in `s3://bucket/models`; null: nothing is published."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Address of the S3 service; null: that of AWS, or what AWS_ENDPOINT_URL says."""
    name: Annotated[str, Field(pattern=rf"^{_SEGMENT}$")] = "model"
    """The model's name: a registry holds many models, each with versions of its own."""

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        address = urlsplit(self.endpoint_url or "")
        if address.username is not None or address.password is not None:
            raise ValueError("publish.endpoint_url holds credentials: leave them to the environment")
        return self

    @property
    def registry(self) -> str | None:
        """The `s3://` address of the model's versions; None where nothing is to be published."""
        return f"{self.url.rstrip('/')}/{self.name}" if self.url is not None else None
