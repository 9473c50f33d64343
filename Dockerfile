# syntax=docker/dockerfile:1
# Two stages: the first installs and compiles the kernels, the second carries what came of it. For amd64 and arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example.com/spillway:0.1.0 --push .
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
WORKDIR /src
COPY requirements requirements
# The environment has no pip: what runs installs nothing. What it holds, and what builds it, is known by its hashes.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/spillway && \
    pip --python /opt/spillway/bin/python install --require-hashes --only-binary :all: -r requirements/image.txt && \
    pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY adapter adapter
COPY scaler scaler
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . && \
    pip --python /opt/spillway/bin/python install --no-deps --no-index /dist/*.whl
COPY --chmod=755 docker-entrypoint.sh /opt/spillway/bin/entrypoint
# The kernels, for a CPU that nearly every node of the architecture is at least as good as; `flags` is how Linux names what
# it takes, for the entrypoint to look for. numba keys its cache by CPU and by the modules' folder: not from /src.
ARG TARGETARCH
RUN set -eu; \
    case "${TARGETARCH}" in \
      amd64) cpu=x86-64-v3 features=+avx2 flags="avx avx2 bmi1 bmi2 f16c fma abm movbe" ;; \
      arm64) cpu=generic features=+neon flags="asimd" ;; \
      *) echo "no portable CPU is known for TARGETARCH=${TARGETARCH}" >&2; exit 1 ;; \
    esac; \
    printf "cpu='%s'\nfeatures='%s'\nflags='%s'\n" "$cpu" "$features" "$flags" > /opt/spillway/cpu.env; \
    cd /; \
    NUMBA_CPU_NAME="$cpu" NUMBA_CPU_FEATURES="$features" NUMBA_CACHE_DIR=/opt/spillway/kernels \
      /opt/spillway/bin/python -m adapter.warm

FROM ${BASE}
LABEL org.opencontainers.image.title="Spillway" \
      org.opencontainers.image.description="External Metrics API server for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/spillway /opt/spillway
# Where no volume is mounted over it: `docker run` as it is.
RUN install -d -o 65532 -g 65532 /var/cache/spillway
# One thread of OpenBLAS: nothing here is linear algebra, and it would start one a core of the node.
ENV PATH=/opt/spillway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    NUMBA_CACHE_DIR=/var/cache/spillway
# A number, so that runAsNonRoot can be checked. Any other user will do, too: nothing in the image is its own.
USER 65532:65532
EXPOSE 10250 8080
ENTRYPOINT ["entrypoint"]
CMD ["serve"]
