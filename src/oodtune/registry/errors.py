"""What S3 and its client say, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from oodtune.errors import RegistryError

_CREDENTIALS: Final = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_NO_CREDENTIALS: Final = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
)


@contextmanager
def explain(address: str) -> Iterator[None]:
    """Turn every error of S3, of its client, and of the disk into a RegistryError about the `s3://` address."""
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except ClientError as error:
        raise RegistryError(_explain_answer(address, error)) from None
    except RetriesExceededError as error:
        raise RegistryError(_explain_silence(address, error.last_exception)) from None
    except (BotoCoreError, OSError) as error:
        raise RegistryError(_explain_silence(address, error)) from None


def status_of(error: Any) -> int:
    """Return the HTTP status of a `botocore.exceptions.ClientError`."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, without line breaks and at most 300 characters long."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _explain_answer(address: str, error: Any) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = status_of(error)
    if code == "NoSuchBucket":
        bucket = address.removeprefix("s3://").partition("/")[0]
        return f"{address}: expected the bucket {bucket!r}, found none; create it, or correct the address"
    if status in (401, 403):
        return f"{address}: access denied: the service refuses these credentials ({one_line(error)}); {_CREDENTIALS}"
    if status == 404:
        return f"{address}: expected an object, found none ({one_line(error)}); publish the bundle again"
    return f"{address}: the service refuses ({one_line(error)}); check the address and the service's log"


def _explain_silence(address: str, error: BaseException) -> str:
    kind, said = type(error).__name__, one_line(error)
    if kind in _NO_CREDENTIALS:
        return f"{address}: expected credentials of S3, found none that work ({said}); {_CREDENTIALS}"
    if kind == "EndpointConnectionError" or kind.endswith("TimeoutError"):
        return f"{address}: expected an S3 service, none answers ({said}); start it, or correct the endpoint's address"
    return f"{address}: could not finish ({said}); check network and disk, then run again: what is done is kept"
