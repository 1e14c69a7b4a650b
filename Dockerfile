# Two images from one wheel: `runtime` (heads and workers) and `operator`.
#   make image                                          both, with docker, podman or buildah
#   docker build --target runtime --build-arg BASE=python:3.12-slim .
#
# Packages come from where pip is told to look, and nothing of that stays in the images: by build arguments (below) or
# by a secret, `--secret id=pip.conf,src=$HOME/.config/pip/pip.conf`.
#
# Both run as user 65532 with a read-only root file system; only /tmp has to be writable. To add packages:
#   FROM shoal/runtime
#   USER 0
#   RUN pip --python /opt/shoal/bin/python install pandas     # python3 -m pip where the base has no pip command
#   USER 65532

# Any image with python3 of 3.11 or later and its venv module. Pin it by digest for releases.
ARG BASE=docker.io/library/python:3.11-slim

# --- the wheel, built once ---------------------------------------------------------------------------------
FROM ${BASE} AS wheel
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /build && /build/bin/python -m pip install --quiet --upgrade 'pip>=24'
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY runtime runtime
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/bin/python -m pip wheel --quiet --no-deps --wheel-dir /wheels .

# --- one virtual environment an image, without pip in it ---------------------------------------------------
# Bytecode is compiled here, because a read-only root file system keeps none; unchecked, because nobody edits the
# sources in an image, and so that file times do not matter.
FROM wheel AS runtime-files
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/shoal \
    && for wheel in /wheels/*.whl; do \
        /build/bin/python -m pip --python /opt/shoal/bin/python install --quiet --no-compile "$wheel[redis]"; done \
    && /opt/shoal/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/shoal/lib

FROM wheel AS operator-files
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/shoal \
    && for wheel in /wheels/*.whl; do \
        /build/bin/python -m pip --python /opt/shoal/bin/python install --quiet --no-compile "$wheel[operator]"; done \
    && /opt/shoal/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/shoal/lib

# --- runtime: heads and workers ----------------------------------------------------------------------------
FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="shoal runtime" \
      org.opencontainers.image.description="Heads and workers of Shoal clusters: tasks, actors, objects and jobs in Python." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=runtime-files /opt/shoal /opt/shoal
ENV PATH=/opt/shoal/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp PYTHONUNBUFFERED=1
# The base may come without bytecode of the standard library: what the processes import is compiled now.
RUN python -c "import shoal, shoal.cli.job, shoal.cli.main, shoal.cli.node_process, shoal.cli.status; \
    import shoal.head.control, shoal.jobs.runner, shoal.node.head_session, shoal.worker.main, shoal.worker.template" \
    && rm -rf /tmp/*
USER 65532:65532
WORKDIR /tmp
CMD ["shoal", "--help"]

# --- operator ----------------------------------------------------------------------------------------------
FROM ${BASE} AS operator
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="shoal operator" \
      org.opencontainers.image.description="Runs ComputeClusters and ComputeJobs on Kubernetes." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=operator-files /opt/shoal /opt/shoal
# PYTHONSAFEPATH: nothing that lies in the working directory can stand in for a module. The runtime goes without it,
# because users' programs import what lies beside them.
ENV PATH=/opt/shoal/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
RUN python -c "import shoal_operator.composition, shoal_operator.handlers, shoal_operator.main, kopf, grpc.aio" \
    && rm -rf /tmp/*
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["shoal-operator"]
