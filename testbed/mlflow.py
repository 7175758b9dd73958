"""The real MLflow tracking server and model registry on loopback, with users, and a client that registers models."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from testbed.ports import free_port
from testbed.pythonprograms import programs_python
from testbed.webserver import web_server

ADMINISTRATOR = ("admin", "what only the administrator knows")
"""Name and password of who may do everything."""
_AUTHORIZATION = {"Authorization": aiohttp.encode_basic_auth(*ADMINISTRATOR)}
_CONFIGURATION = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = {login[0]}
admin_password = {login[1]}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 3600
"""  # else most of its time goes into hashing passwords


class Mlflow:
    """A running server that asks for a name and a password; `url` is its address without a path.

    Every method raises aiohttp.ClientResponseError when the server refuses.
    """

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def user(self, name: str) -> tuple[str, str]:
        """Make somebody who may read everything; their name and password."""
        password = f"what only {name} knows"
        await self._call("POST", "users/create", username=name, password=password)
        return name, password

    async def forbid(self, user: str, model: str) -> None:
        """Take the right to read a registered model from somebody."""
        denied = {"resource_type": "registered_model", "resource_id": model, "permission": "DENY"}
        await self._call("POST", "users/permissions/grant", api="3.0", username=user, **denied)

    async def model(self, name: str) -> None:
        """Register a model, without versions."""
        await self._call("POST", "registered-models/create", name=name)

    async def version(self, model: str, source: str, *, run: str = "", logged: str = "") -> str:
        """Add a version whose files are at `source`; its number."""
        made = await self._call("POST", "model-versions/create", name=model, source=source, run_id=run, model_id=logged)
        return str(made["model_version"]["version"])

    async def delete_version(self, model: str, version: str) -> None:
        """Take a version away."""
        await self._call("DELETE", "model-versions/delete", name=model, version=version)

    async def alias(self, model: str, alias: str, version: str) -> None:
        """Let an alias name a version, from now on this one only."""
        await self._call("POST", "registered-models/alias", name=model, alias=alias, version=version)

    async def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        await self._call("DELETE", "registered-models/alias", name=model, alias=alias)

    async def stage(self, model: str, version: str, stage: str) -> None:
        """Move a version to a stage, such as ``Production``."""
        await self._call("POST", "model-versions/transition-stage", name=model, version=version, stage=stage)

    async def experiment(self, name: str, artifacts: str = "") -> str:
        """Make an experiment that keeps files below the address `artifacts`, else behind the server; its id."""
        made = await self._call("POST", "experiments/create", name=name, artifact_location=artifacts)
        return str(made["experiment_id"])

    async def run(self, experiment: str) -> tuple[str, str]:
        """Start a run; its id and the address of its files."""
        info = (await self._call("POST", "runs/create", experiment_id=experiment))["run"]["info"]
        return str(info["run_id"]), str(info["artifact_uri"])

    async def logged_model(self, experiment: str, run: str) -> tuple[str, str]:
        """Log a model of a run; its id and the address of its files."""
        made = await self._call("POST", "logged-models", experiment_id=experiment, source_run_id=run)
        info = made["model"]["info"]
        return str(info["model_id"]), str(info["artifact_uri"])

    async def upload(self, address: str, content: bytes) -> None:
        """Store a file at an address ``mlflow-artifacts:/path``, which the server gives out itself."""
        path = quote(address.removeprefix("mlflow-artifacts:").strip("/"))
        url = URL(f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{path}", encoded=True)
        async with self._http.put(url, data=content, headers=_AUTHORIZATION) as response:
            response.raise_for_status()

    async def _call(self, method: str, path: str, *, api: str = "2.0", **body: str) -> dict[str, Any]:
        sent = {name: value for name, value in body.items() if value}
        url = f"{self.url}/api/{api}/mlflow/{path}"
        async with self._http.request(method, url, json=sent, headers=_AUTHORIZATION) as response:
            response.raise_for_status()
            answered: dict[str, Any] = await response.json()
            return answered


@asynccontextmanager
async def mlflow(folder: Path) -> AsyncIterator[Mlflow]:
    """A server that keeps everything in `folder`. Raises ProcessError or BuildError."""
    python = await asyncio.to_thread(programs_python)
    configuration = folder / "basic_auth.ini"
    await asyncio.to_thread(configuration.write_text, _CONFIGURATION.format(folder=folder, login=ADMINISTRATOR))
    port = free_port()
    argv: list[str | Path] = [python, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    argv += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts"]
    environment = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs forms that nobody fills in",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    url = f"http://127.0.0.1:{port}"
    log, probe = folder / "mlflow.log", f"{url}/health"
    # It makes its tables step by step, as if it had all of its older versions behind it.
    async with web_server(argv, name="mlflow", log=log, probe=probe, timeout=240, env=environment) as http:
        yield Mlflow(url, http)
