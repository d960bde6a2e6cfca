# hadolint global ignore=DL3008
# Debian keeps one version of a package: pinned to it, a build would fail at the next security update.
# The endpoint, without torch. Targets: cpu (the default) and gpu. `make images` builds both; docs/deploy.md says more.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

# What both the build and the image have: Debian's Python 3.11.
FROM ${BASE_IMAGE} AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log

FROM python AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/build.txt /build/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement /build/build.txt \
 && python3 -m venv --without-pip /opt/venv

# The package changes every day, its dependencies rarely: they have layers of their own, before it.
FROM build AS cpu-packages
COPY requirements/serve-cpu.txt /build/
RUN /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes --requirement /build/serve-cpu.txt

FROM build AS gpu-packages
COPY requirements/serve-gpu.txt /build/
RUN /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes --requirement /build/serve-gpu.txt

FROM build AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

FROM cpu-packages AS cpu-venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/build/bin/pip --python /opt/venv/bin/python install --no-index --no-deps /wheels/*.whl

FROM gpu-packages AS gpu-venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/build/bin/pip --python /opt/venv/bin/python install --no-index --no-deps /wheels/*.whl

FROM python AS runtime
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="oodtune-serve" \
      org.opencontainers.image.description="Serves image classifiers of oodtune: Open Inference Protocol, drift, metrics" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 oodtune \
 && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin oodtune
# The root may be read-only: what is written goes to TMPDIR (versions from a registry) and HOME.
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/home/oodtune \
    TMPDIR=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    OODTUNE_LISTEN_HOST=0.0.0.0 \
    OODTUNE_LISTEN_PORT=8080
WORKDIR /home/oodtune
USER 10001:10001
EXPOSE 8080 9000 9090
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own; this is for those who run the image alone, without TLS.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"OODTUNE_LISTEN_PORT\"]}/v2/health/live', timeout=4)"]
# It starts no processes and ends on SIGTERM: as the first process it needs no init. What it serves is OODTUNE_BUNDLE, an
# argument, or what is mounted at /mnt/models.
ENTRYPOINT ["oodtune", "serve"]

FROM runtime AS gpu
ENV OODTUNE_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-venv /opt/venv /opt/venv

FROM runtime AS cpu
ENV OODTUNE_PROVIDER=cpu
COPY --from=cpu-venv /opt/venv /opt/venv
