# One image for all three commands: `serve` (everything on one machine), `controller` and `proxy`.
#
#   docker build -t penstock .
#   docker run -p 8080:8080 -p 8090:8090 -e PENSTOCK_API_TOKEN=... -v penstock:/var/lib/penstock penstock
#
# The broker embedded in `serve` asks nobody for a password, so it stays inside the container. For sources elsewhere give
# -e PENSTOCK_MQTT_URL=... (a broker of your own), or use compose.yaml.
#
# BASE is any image with Python 3.11 and apt; give it with its digest for a build that can be repeated byte for byte.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/penstock
# The dependencies first: this layer changes with the lock only. Wheels only: nothing is compiled, nothing runs at install.
COPY requirements.lock ./
RUN /opt/penstock/bin/pip install --require-hashes --only-binary=:all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY controller controller
COPY proxy proxy
COPY migrations migrations
RUN /opt/penstock/bin/pip install --no-deps . \
 && /opt/penstock/bin/python -m compileall -q /opt/penstock/lib \
 && /opt/penstock/bin/pip uninstall -y pip

FROM ${BASE}
# ffmpeg makes snapshots, and reads rtsp, rtmp, srt and file upstreams. FFMPEG=0 leaves it out of the image; http, HLS and UDP need none.
ARG FFMPEG=1
RUN if [ "${FFMPEG}" = 1 ]; then \
      apt-get update \
      && apt-get install -y --no-install-recommends ffmpeg \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
 && install -d -o 10001 -g 10001 /var/lib/penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PENSTOCK_DATA_DIR=/var/lib/penstock \
    PENSTOCK_HTTP=0.0.0.0:8080 \
    PENSTOCK_PROXY_HTTP=0.0.0.0:8090 \
    PENSTOCK_PROXY_PUBLIC_URL=http://localhost:8090
WORKDIR /var/lib/penstock
VOLUME /var/lib/penstock
# PENSTOCK_PROXY_PUBLIC_URL above is right for "docker run -p 8090:8090" and a viewer on the same machine; for others set it.
USER 10001:10001
EXPOSE 8080 8090
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Penstock" \
      org.opencontainers.image.description="A live-stream gateway that cannot lose track of its streams" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# For `serve` and `controller`. A container that runs `proxy` sets HEALTHCHECK_URL to its own port.
ENV HEALTHCHECK_URL=http://127.0.0.1:8080/healthz
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTHCHECK_URL'], timeout=4)"]
# Both ends of a stream are told before the process goes; `penstock` handles SIGTERM itself, also as process 1.
STOPSIGNAL SIGTERM
ENTRYPOINT ["penstock"]
CMD ["serve"]
