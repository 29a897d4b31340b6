# The trainer, and the launcher with it: one image for every run. `make image` builds it; docs/image.md explains it.
#
# BASE         has Python 3.11 with its shared library and venv; pinned by digest
# LOCK         what is installed: requirements/tpu-cpu.txt for TPUs, tpu.txt where only the plain index can be
#              reached (4.3 GB of CUDA more), gpu.txt for GPUs
# TORCH_INDEX  a second index, for the CPU build of torch that tpu-cpu.txt names
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS packages
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_CACHE_DIR=/cache/uv \
    UV_LINK_MODE=copy \
    UV_SYSTEM_CERTS=1
COPY requirements/uv.txt requirements/build.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip python3.11 -m venv /uv \
 && /uv/bin/pip install --quiet --require-hashes -r /requirements/uv.txt
ARG LOCK=requirements/tpu-cpu.txt
ARG TORCH_INDEX=
COPY ${LOCK} /requirements/lock.txt
RUN --mount=type=cache,target=/cache/uv /uv/bin/uv venv --quiet --python python3.11 /opt/octjob \
 && /uv/bin/uv pip sync --python /opt/octjob --require-hashes --strict --compile-bytecode \
      ${TORCH_INDEX:+--index ${TORCH_INDEX} --index-strategy unsafe-best-match} /requirements/lock.txt

# octjob itself, apart from its packages: a change of ours is a layer of a few megabytes.
FROM packages AS octjob
RUN --mount=type=cache,target=/cache/uv /uv/bin/uv venv --quiet --python python3.11 /build \
 && /uv/bin/uv pip sync --quiet --python /build --require-hashes /requirements/build.txt
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY sweeps sweeps
COPY octjob octjob
RUN VIRTUAL_ENV=/build /uv/bin/uv build --quiet --wheel --no-build-isolation --python /build --out-dir /wheel \
 && /uv/bin/uv pip install --quiet --python /opt/octjob --prefix /opt/added --no-deps --compile-bytecode /wheel/*.whl

FROM ${BASE}
# Nothing that installs anything.
RUN python3.11 -c "import shutil, sysconfig; [shutil.rmtree(sysconfig.get_path('stdlib') + name, True) for name in \
('/ensurepip', '/site-packages/pip', '/site-packages/setuptools', '/idlelib', '/test')]" \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.11/site-packages/pip-* /usr/share/python-wheels \
 && echo 'octjob:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=packages /opt/octjob /opt/octjob
COPY --from=octjob /opt/added /opt/octjob
# USER: torch_xla's imports ask for the user's name, which another user id than ours has not.
ENV PATH=/opt/octjob/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=octjob \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
# A result says which commit computed it.
ENV OCTJOB_REVISION=${REVISION}
LABEL org.opencontainers.image.title="octjob" \
      org.opencontainers.image.description="Trainer and launcher of octjob" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# The only places that are written to; the root may be read-only.
VOLUME ["/tmp"]
WORKDIR /tmp
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=20s CMD ["octjob", "self-check", "--quick"]
ENTRYPOINT ["octjob"]
CMD ["--help"]
