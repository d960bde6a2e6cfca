#!/usr/bin/env bash
# Build the images of oodtune, and push them if asked; the last lines name what was made, by digest.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: docker/build.sh [--engine ENGINE] [--base IMAGE] [--push REGISTRY] [serve] [serve-gpu] [train]

Builds the named images, or all three, with the first of docker, podman and buildah that is installed. Each is tagged
with its version and commit, as oodtune-serve:1.2.3-1a2b3c4; train also with the version alone, which pipelines run
unless they are given another.

  --engine ENGINE   docker, podman or buildah
  --base IMAGE      in the place of docker.io/library/debian:bookworm-slim, best by digest
  --push REGISTRY   push to REGISTRY/NAME, as registry.example.com/team, and print the digests to deploy

BUILD_FLAGS in the environment is handed to the engine, as --network host.
TEXT
}

fail() {
  echo "error: $*" >&2
  exit 2
}

engine=""
base=""
registry=""
images=()
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --engine | --base | --push)
      [ $# -ge 2 ] || fail "$1: expected a value after it; see --help"
      case "$1" in
        --engine) engine="$2" ;;
        --base) base="$2" ;;
        --push) registry="${2%/}" ;;
      esac
      shift 2
      ;;
    serve | serve-gpu | train) images+=("$1"); shift ;;
    *) fail "$1: expected serve, serve-gpu or train; see --help" ;;
  esac
done
[ ${#images[@]} -gt 0 ] || images=(serve serve-gpu train)

if [ -z "$engine" ]; then
  for one in docker podman buildah; do
    if command -v "$one" > /dev/null; then engine="$one"; break; fi
  done
  [ -n "$engine" ] || fail "expected docker, podman or buildah, found none; install one of them (Debian: apt-get install buildah)"
fi
command -v "$engine" > /dev/null || fail "$engine: expected an engine that is installed, found none of this name"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/oodtune/__init__.py)
[ -n "$version" ] || fail "src/oodtune/__init__.py: expected __version__, found none"
commit=$(git rev-parse --short=7 HEAD 2> /dev/null) || fail "expected a git checkout: its commit names the images"
# What is not committed is in the image: its name must say so.
[ -z "$(git status --porcelain -- src pyproject.toml requirements docker)" ] || commit="$commit-changed"

build() { # NAME DOCKERFILE TARGET
  local flags=(--file "docker/$2" --target "$3" --tag "$1:$version-$commit")
  flags+=(--build-arg "VERSION=$version" --build-arg "REVISION=$commit")
  [ -z "$base" ] || flags+=(--build-arg "BASE_IMAGE=$base")
  # The OCI format has no HEALTHCHECK: podman and buildah would leave it out.
  [ "$engine" = docker ] || flags+=(--format docker --layers)
  # shellcheck disable=SC2086  # several flags in one variable
  "$engine" build "${flags[@]}" ${BUILD_FLAGS:-} .
}

describe() { # NAME
  local size
  if [ "$engine" = buildah ]; then
    size=$("$engine" images --format '{{.Size}}' "$1:$version-$commit" | head -n 1)
  else
    size=$("$engine" image inspect --format '{{.Size}}' "$1:$version-$commit" | awk '{printf "%.0f MB", $1 / 1e6}')
  fi
  echo "$1:$version-$commit  $size"
}

push() { # NAME
  local remote="$registry/$1:$version-$commit" digest
  "$engine" tag "$1:$version-$commit" "$remote"
  if [ "$engine" = docker ]; then
    digest=$("$engine" push "$remote" | sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p')
  else
    digest=$(mktemp)
    "$engine" push --digestfile "$digest" "$remote" >&2
    digest=$(cat "$digest")
  fi
  echo "$registry/$1@$digest"
}

made=()
for image in "${images[@]}"; do
  name="oodtune-$image"
  case "$image" in
    serve) build "$name" serve.Dockerfile cpu ;;
    serve-gpu) build "$name" serve.Dockerfile gpu ;;
    train)
      build "$name" train.Dockerfile train
      "$engine" tag "$name:$version-$commit" "$name:$version"
      ;;
  esac
  made+=("$(describe "$name")")
  [ -z "$registry" ] || made+=("$(push "$name")")
done
printf '%s\n' "${made[@]}"
