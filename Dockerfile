# syntax=docker/dockerfile:1
# Two stages: the first installs and compiles the kernels, the second runs them. amd64 and arm64.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
RUN python -m venv /opt/spillway
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY adapter adapter
COPY scaler scaler
RUN /opt/spillway/bin/pip install --no-cache-dir -c constraints.txt .
# The kernels' cache, for a CPU that every node of the architecture has. numba keys it by CPU name and features, so the
# same two variables are set at run time.
ARG TARGETARCH
RUN set -eu; \
    case "${TARGETARCH:-amd64}" in \
      amd64) cpu=x86-64-v3; features=+avx2,+fma,+bmi,+bmi2 ;; \
      arm64) cpu=generic; features=+neon ;; \
      *) echo "no portable CPU is known for ${TARGETARCH}" >&2; exit 1 ;; \
    esac; \
    printf 'export NUMBA_CPU_NAME=%s NUMBA_CPU_FEATURES=%s\n' "$cpu" "$features" > /opt/spillway/cpu.env; \
    . /opt/spillway/cpu.env; \
    NUMBA_CACHE_DIR=/opt/spillway/kernels /opt/spillway/bin/python -m adapter.warm
COPY docker-entrypoint.sh /opt/spillway/bin/entrypoint

FROM python:${PYTHON}-slim
COPY --from=build /opt/spillway /opt/spillway
ENV PATH=/opt/spillway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/spillway
# A number, so that runAsNonRoot can be checked.
USER 65532:65532
VOLUME /var/cache/spillway
EXPOSE 10250 8080
ENTRYPOINT ["entrypoint"]
CMD ["serve"]
