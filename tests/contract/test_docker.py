"""What the Dockerfiles say agrees with the code, and with those who look at Dockerfiles."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from oodtune.config import ServeConfig
from oodtune.serve.app import create_app
from oodtune.serve.parts import create_parts
from oodtune.serve.settings import VARIABLES, read_settings

PROJECT_DIR = Path(__file__).parents[2]
FILES = sorted((PROJECT_DIR / "docker").glob("*.Dockerfile"))
TEXTS = {path.name.removesuffix(".Dockerfile"): path.read_text(encoding="utf-8") for path in FILES}
IMAGES = pytest.mark.parametrize("image", list(TEXTS))


def lines(image: str, instruction: str) -> list[str]:
    """Return what follows each `instruction`, its continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", TEXTS[image])
    return re.findall(rf"^{instruction} (.*)$", joined, flags=re.MULTILINE)


def variables(image: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for line in lines(image, "ENV") for pair in line.split())


def copied(image: str) -> list[str]:
    """Return the paths of the checkout that are copied in."""
    arguments = [line.split() for line in lines(image, "COPY") if not line.startswith("--from")]
    requirements = re.findall(r"^ARG REQUIREMENTS=(.*)$", TEXTS[image], flags=re.MULTILINE)
    return [requirements[0] if path == "${REQUIREMENTS}" else path for paths in arguments for path in paths[:-1]]


def test_there_are_an_image_to_serve_and_one_to_train() -> None:
    assert set(TEXTS) == {"serve", "train"}


@IMAGES
def test_hadolint_has_nothing_to_say(image: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, "--config", "/dev/null", PROJECT_DIR / f"docker/{image}.Dockerfile"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


@IMAGES
def test_the_base_can_be_named_by_digest_and_is_never_latest(image: str) -> None:
    assert lines(image, "ARG")[0].startswith("BASE_IMAGE=docker.io/library/debian:bookworm")
    froms = lines(image, "FROM")
    stages = {line.split(" AS ")[1] for line in froms}
    assert {line.split()[0] for line in froms} <= {"${BASE_IMAGE}", *stages}
    assert ":latest" not in TEXTS[image]


@IMAGES
def test_nobody_is_root_and_the_user_is_a_number(image: str) -> None:
    assert lines(image, "USER") == ["10001:10001"]
    last_run = TEXTS[image].rindex("\nRUN ")
    assert TEXTS[image].index("\nUSER ") > last_run  # nothing needs to run after it


@IMAGES
def test_what_starts_is_in_exec_form(image: str) -> None:
    for line in (*lines(image, "ENTRYPOINT"), *lines(image, "CMD")):
        assert isinstance(json.loads(line), list)
    assert lines(image, "STOPSIGNAL") == ["SIGTERM"]


@IMAGES
def test_what_is_copied_exists_and_is_not_ignored(image: str) -> None:
    patterns = (PROJECT_DIR / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in patterns
    kept = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert copied(image)
    for path in copied(image):
        assert (PROJECT_DIR / path).exists(), path
        assert any(path == one or path.startswith(one + "/") for one in kept), path
    assert not any(fnmatch(secret, one) for secret in (".env", ".git", "artifacts") for one in kept)


@IMAGES
def test_every_package_comes_by_its_hash_and_dependencies_come_before_the_package(image: str) -> None:
    installs = re.findall(r"pip(?: --python \S+)? install (.*?)(?= &&|$)", "\n".join(lines(image, "RUN")), re.MULTILINE)
    assert len(installs) >= 3
    for install in installs:
        assert "--require-hashes" in install or install.startswith("--no-index --no-deps /wheels/"), install
    assert TEXTS[image].index("COPY requirements") < TEXTS[image].index("COPY src")


@IMAGES
def test_no_tool_of_the_build_is_in_what_is_shipped(image: str) -> None:
    shipped = TEXTS[image][TEXTS[image].index("LABEL") :]
    assert "/opt/build" not in shipped
    assert "apt-get" not in shipped


def test_the_kfp_of_the_image_is_that_of_the_pipelines() -> None:
    (cut,) = re.findall(r"sed -n '(.*?)' /build/pipeline.txt", TEXTS["train"])
    lock = PROJECT_DIR / "requirements/pipeline.txt"
    found = subprocess.run(["sed", "-n", cut, lock], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"kfp==[\d.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", found)
    import kfp

    assert found.startswith(f"kfp=={kfp.__version__} ")


def test_the_server_listens_where_the_image_says() -> None:
    given = variables("serve")
    settings = read_settings(ServeConfig(), environ=given)
    assert settings.host == "0.0.0.0"
    ports = lines("serve", "EXPOSE")[0].split()
    assert ports[0] == str(settings.port)
    assert {name for name in given if name.startswith("OODTUNE_")} <= set(VARIABLES.values())


def test_the_health_check_asks_a_route_of_the_server() -> None:
    (check,) = lines("serve", "HEALTHCHECK")
    (path,) = re.findall(r"\]}(/[a-z0-9/]+)'", check)
    app = create_app(create_parts(read_settings(ServeConfig(), environ={})))
    with TestClient(app) as client:
        assert client.get(path).status_code == 200


@IMAGES
def test_no_secret_and_no_address_of_a_registry_is_in_it(image: str) -> None:
    assert not re.search(r"https?://(?!127\.0\.0\.1)", TEXTS[image])
    assert not re.search(r"(?i)(password|secret|token)=", TEXTS[image])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["surve"], "surve: expected serve, serve-gpu or train"),
        (["--push"], "--push: expected a value after it"),
        (["--engine", "no-such-engine", "serve"], "no-such-engine: expected an engine that is installed"),
    ],
)
def test_a_wrong_call_of_the_build_is_one_line_and_exit_code_2(arguments: list[str], complaint: str) -> None:
    result = subprocess.run(
        [PROJECT_DIR / "docker/build.sh", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert complaint in result.stderr


def test_the_folder_of_dockerfiles_hides_no_package() -> None:
    code = "import docker; print(docker.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert "site-packages" in result.stdout  # kfp would take the folder for the package
