# One file, three images: operator (no torch), agent, trainer (examples and end-to-end tests).
#   docker build --target operator -t checkpointheal/operator:dev .
# PYTHON_IMAGE: a Debian-like Python with pip, 3.11 or later. TORCH_IMAGE: one that has torch already; by default torch is
# installed into PYTHON_IMAGE from TORCH_INDEX, an index that has builds for the CPU alone (empty: pip's own, 5 GB larger).
ARG PYTHON_IMAGE=python:3.13-slim
ARG TORCH_IMAGE=with-torch

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY transport transport
RUN pip wheel --quiet --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS with-torch
ARG TORCH_INDEX=""
RUN pip install --quiet --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch numpy

FROM ${PYTHON_IMAGE} AS operator
LABEL org.opencontainers.image.title="CheckpointHeal operator" \
      org.opencontainers.image.description="Watches training pods, assigns donors, injects agents" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --quiet --no-cache-dir --constraint /constraints.txt "$(ls /wheels/*.whl)[operator]"
USER 65532:65532
CMD ["checkpointheal", "operator"]

FROM ${TORCH_IMAGE} AS agent
LABEL org.opencontainers.image.title="CheckpointHeal agent" \
      org.opencontainers.image.description="The sidecar: keeps a training pod's state in memory and moves it between pods" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# In an environment of its own, which sees the base's packages and replaces none: torch was made with those. So the
# constraints leave out torch and what it needs.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    python3 -m venv --system-site-packages --without-pip /opt/checkpointheal \
    && grep -vE '^(torch|numpy|sympy|mpmath|networkx|jinja2|markupsafe|filelock|fsspec|setuptools|nvidia|cuda|triton)' \
      /constraints.txt > /tmp/ours.txt \
    && pip --python /opt/checkpointheal/bin/python install --quiet --no-cache-dir --constraint /tmp/ours.txt \
      "$(ls /wheels/*.whl)[transport]" \
    && rm /tmp/ours.txt
ENV PATH=/opt/checkpointheal/bin:$PATH
USER 65532:65532
CMD ["checkpointheal", "agent"]

FROM agent AS trainer
LABEL org.opencontainers.image.title="CheckpointHeal trainer" \
      org.opencontainers.image.description="Small training scripts for trying CheckpointHeal out"
WORKDIR /app
COPY examples/train.py train.py
CMD ["checkpointheal", "run", "--", "python", "/app/train.py"]
