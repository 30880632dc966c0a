# A CPU node. For a GPU node build with --build-arg BASE=<an image with CUDA and torch> --build-arg EXTRAS=worker,kernels.
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG EXTRAS=worker
ARG PIP_EXTRA_INDEX_URL=
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY constraints constraints
COPY platform platform
COPY workers workers
COPY tasks tasks
COPY kernels kernels
COPY templates templates
RUN pip install -c constraints/cpu.txt -e ".[${EXTRAS}]" \
    && useradd --system --uid 10001 longboard && mkdir /node && chown longboard /node
USER longboard
ENV LONGBOARD_NODE_HOME=/node
ENTRYPOINT ["longboard-worker"]
CMD ["start"]
