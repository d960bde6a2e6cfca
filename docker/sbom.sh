#!/usr/bin/env bash
# The Python packages of the images: a CycloneDX file for each lock, and the licences of what serves on CPUs, held against
# licences.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

out=artifacts/sbom
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"

for lock in serve-gpu train-gpu; do
  cyclonedx-py requirements "requirements/$lock.txt" --output-reproducible --output-format JSON --output-file "$out/$lock.json"
done
# Only an installed package tells its licence. That of CUDA in the other images is NVIDIA's: see docs/deploy.md.
python -m venv --without-pip "$scratch/serve"
.uv/bin/uv pip sync --quiet --require-hashes --python "$scratch/serve/bin/python" requirements/serve-cpu.txt
cyclonedx-py environment --output-reproducible --output-format JSON --output-file "$out/serve-cpu.json" "$scratch/serve/bin/python"
python docker/licences.py "$out/serve-cpu.json" "$out/serve-cpu-licences.md"
ls "$out"/*
