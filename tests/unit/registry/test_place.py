import pytest
from pydantic import ValidationError

from oodtune.config.publish import PublishConfig
from oodtune.errors import RegistryError
from oodtune.registry.place import Place, parse_address

VERSION = "000003-ab12cd34ef56"


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("s3://bucket/name", Place("bucket", "name"), "production"),
        ("s3://bucket/a/b/name/", Place("bucket", "a/b/name"), "production"),
        ("s3://bucket/a/name@production", Place("bucket", "a/name"), "production"),
        (f"s3://bucket/a/name@{VERSION}", Place("bucket", "a/name"), VERSION),
        ("s3://bucket/a/name@3", Place("bucket", "a/name"), "3"),
        (f"s3://bucket/a/name/versions/{VERSION}", Place("bucket", "a/name"), VERSION),
    ],
)
def test_an_address_names_a_model_and_a_version(text: str, place: Place, wanted: str) -> None:
    assert parse_address(text) == (place, wanted)


@pytest.mark.parametrize(
    "text", ["", "bucket/name", "s3://bucket", "s3://bucket/../name", "s3://bucket//name", "s3://b/n@"]
)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RegistryError, match=r"expected the address of a model, as in s3://[^\n]*$"):
        parse_address(text)


def test_the_address_of_the_settings_is_understood() -> None:
    registry = PublishConfig(url="s3://bucket/models/", name="drawings").registry
    assert registry is not None
    assert parse_address(registry) == (Place("bucket", "models/drawings"), "production")


def test_by_default_nothing_is_published() -> None:
    assert PublishConfig().registry is None


@pytest.mark.parametrize(
    "wrong",
    [{"url": "https://bucket/models"}, {"name": "a/b"}, {"name": "a@b"}, {"endpoint_url": "http://me:word@localhost"}],
)
def test_settings_that_cannot_be_right_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PublishConfig.model_validate(wrong)
