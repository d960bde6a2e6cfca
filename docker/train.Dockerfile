# hadolint global ignore=DL3008
# Debian keeps one version of a package: pinned to it, a build would fail at the next security update.
# Every stage but serving, for Kubeflow and for torchrun. CUDA comes with the wheels of torch; the node brings the driver.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

# git: revisions of data. gcc and the headers: torch.compile builds the launchers of its kernels. tini: torchrun, the
# loaders and DVC start processes, and somebody must reap them.
FROM ${BASE_IMAGE} AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates gcc git libc6-dev python3 python3-dev tini \
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

FROM build AS packages
# requirements/train.txt is the same with onnxruntime for CPUs.
ARG REQUIREMENTS=requirements/train-gpu.txt
COPY ${REQUIREMENTS} /build/packages.txt
RUN /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes --requirement /build/packages.txt
# Of kfp, a task needs the executor alone, which needs nothing else. Its dependencies would hold back those of training.
COPY requirements/pipeline.txt /build/
RUN sed -n '/^kfp==/,/[^\\]$/p' /build/pipeline.txt > /build/kfp.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --require-hashes --requirement /build/kfp.txt

FROM build AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

FROM packages AS venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/build/bin/pip --python /opt/venv/bin/python install --no-index --no-deps /wheels/*.whl

FROM python AS train
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="oodtune-train" \
      org.opencontainers.image.description="Fine-tunes, compares, selects and exports image classifiers with oodtune" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 oodtune \
 && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin oodtune
# Whatever caches something does it below /tmp: the root may be read-only, and a cluster may choose another user.
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp/home \
    TMPDIR=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    TORCH_HOME=/tmp/cache/torch \
    HF_HOME=/tmp/cache/huggingface \
    MPLCONFIGDIR=/tmp/cache/matplotlib \
    TRITON_CACHE_DIR=/tmp/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/tmp/cache/inductor \
    DVC_SITE_CACHE_DIR=/tmp/cache/dvc \
    DVC_NO_ANALYTICS=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /home/oodtune
COPY --from=venv /opt/venv /opt/venv
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
CMD ["oodtune", "--help"]
