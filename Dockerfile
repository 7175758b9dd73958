# The agent's image, in three stages. Give digests for builds that have to be repeatable, such as
#   docker build --build-arg GO_IMAGE=golang@sha256:… --build-arg PYTHON_IMAGE=python@sha256:… -t weir .
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# The programs' modules, checked against go.sum, and a first compilation, which the next stage then finds in the cache.
FROM ${GO_IMAGE} AS programs
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOMODCACHE=/go/pkg/mod GOCACHE=/go/build
WORKDIR /src
COPY agent/adapters/programs/go/ ./programs/go/
COPY agent/adapters/renderer/go/go.mod agent/adapters/renderer/go/go.sum ./renderer/go/
COPY agent/adapters/decryptor/go/go.mod agent/adapters/decryptor/go/go.sum ./decryptor/go/
RUN for program in renderer decryptor; do (cd $program/go && go mod download && go mod verify) || exit 1; done
COPY agent/adapters/renderer/go/ ./renderer/go/
COPY agent/adapters/decryptor/go/ ./decryptor/go/
RUN for program in renderer decryptor; do (cd $program/go && go build -trimpath -ldflags "-s -w" -o /out/weir-$program .) || exit 1; done

# Wheels: the locked requirements, each checked against its hash, and our own, built without fetching anything more.
FROM ${PYTHON_IMAGE} AS wheels
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
RUN awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' requirements-dev.lock > build.lock \
 && pip install --only-binary=:all: --require-hashes --requirement build.lock
RUN pip download --no-deps --only-binary=:all: --require-hashes --requirement requirements.lock --dest /wheels
COPY --from=programs /usr/local/go /usr/local/go
COPY --from=programs /go /go
ENV PATH=/usr/local/go/bin:${PATH} GOMODCACHE=/go/pkg/mod GOCACHE=/go/build GOPROXY=off GOFLAGS=-mod=readonly
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY agent ./agent
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .
RUN python -m venv /opt/weir \
 && /opt/weir/bin/pip install --no-index --find-links /wheels --require-hashes --requirement requirements.lock \
 && /opt/weir/bin/pip install --no-index --no-deps /wheels/weir-*.whl \
 && /opt/weir/bin/pip uninstall --yes pip

# Python, the agent, and git with ssh, which carry the transfers. The root may be read-only: only /data and /tmp are
# written to. PYTHONDONTWRITEBYTECODE is not set above, so the byte code is part of the image. ssh refuses to start for a
# user without a name, hence the account; tini reaps what a transfer that was cut off leaves behind.
FROM ${PYTHON_IMAGE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git openssh-client ca-certificates tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin weir
COPY --from=wheels /opt/weir /opt/weir
ENV PATH=/opt/weir/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9090 9440 9980
ENTRYPOINT ["tini", "--", "weir"]
CMD ["run"]
