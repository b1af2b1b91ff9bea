# The stand-in for Snowflake of the demo: it keeps its data in memory and takes any password. It has dependencies of its
# own, as it needs an older connector than Rounds. Built from the repository's root:
# docker build -f exporter/fakesnow.Dockerfile .
ARG PYTHON=python:3.11.15-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/fakesnow
WORKDIR /src
COPY requirements-fakesnow.txt .
RUN pip --python /opt/fakesnow/bin/python install --require-hashes --only-binary=:all: -r requirements-fakesnow.txt

FROM ${PYTHON}
LABEL org.opencontainers.image.title="fakesnow, for the demo of Rounds"
COPY --from=build /opt/fakesnow /opt/fakesnow
COPY --chmod=0644 exporter/rounds/demo/fakesnow_server.py /opt/fakesnow/fakesnow_server.py
# The connector looks for its settings below the home folder.
ENV PATH=/opt/fakesnow/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 12780:12780
WORKDIR /tmp
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=3); \
c.request('GET', '/control'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-P", "/opt/fakesnow/fakesnow_server.py"]
CMD ["--host=0.0.0.0", "--port=8080"]
