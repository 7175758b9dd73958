"""Metrics systems: what each is asked, to the letter, and what is made of its answers.

The exchanges follow the public documentation of the systems' APIs; the servers here are ours and on loopback.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from canary_agent import eventually
from canary_cluster import Rollouts
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from foreign_crds import KEPTN, KEPTN_API, serve
from loopback import listening

from agent.adapters.kube.client import KubeClient
from agent.adapters.metricservers import MetricServers
from agent.adapters.prometheus import Prometheus
from agent.core.rollout.judgement import Sample, Source
from testbed.kube import Admin
from testbed.ports import free_port

NOW = 1_800_000_000


@dataclass
class Server:
    """Answers with what it was told and keeps what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], dict[str, str], str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.method, request.path, dict(request.query), dict(request.headers), body))
        status, text = self.answers.get(request.path, (404, "nothing here"))
        return web.Response(status=status, text=text)

    def last(self) -> tuple[str, str, dict[str, str], dict[str, str], str]:
        return self.asked[-1]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    async with listening(found.take) as found.url:
        yield found


@pytest.fixture
async def servers(kube: KubeClient) -> AsyncIterator[MetricServers]:
    async with Prometheus() as prometheus:
        yield MetricServers(kube, prometheus, now=lambda: float(NOW))


INFLUX = (
    "#datatype,string,long,dateTime:RFC3339,double\r\n"
    ",result,table,_time,_value\r\n"
    ",_result,0,2026-11-29T10:00:00Z,1.5\r\n"
    ",_result,0,2026-11-29T10:01:00Z,2.5\r\n"
)
SIGNALFLOW = (
    'event: control-message\ndata: {"event": "STREAM_START", "timestampMs": 1}\n\n'
    'event: metadata\ndata: {\ndata:   "tsId": "AAAA",\ndata:   "properties": {"sf_metric": "errors"}\ndata: }\n\n'
    'event: data\ndata: {\ndata:   "data": [{"tsId": "AAAA", "value": 9}],\ndata:   "logicalTimestampMs": 1}\n\n'
    'event: data\ndata: {"data": [{"tsId": "AAAA", "value": 1.5}], "logicalTimestampMs": 2}\n\n'
    'event: data\ndata: {"data": [{"tsId": "BBBB", "value": null}], "logicalTimestampMs": 3}\n\n'
    'event: control-message\ndata: {"event": "END_OF_CHANNEL", "timestampMs": 3}\n\n'
)
SPOKEN: dict[str, dict[str, Any]] = {
    "splunk": {
        "credentials": {"sf_token_key": "hush-9"},
        "query": "data('errors').sum().publish()",
        "request": ("POST", "/v2/signalflow/execute"),
        "params": {"start": str((NOW - 600) * 1000), "stop": str(NOW * 1000), "immediate": "true"},
        "headers": {"X-SF-Token": "hush-9", "Content-Type": "text/plain"},
        "answer": SIGNALFLOW,
        "value": 1.5,
        "empty": 'event: control-message\ndata: {"event": "END_OF_CHANNEL"}\n\n',
        "probe": "/v2/metric",
    },
    "datadog": {
        "credentials": {"datadog_api_key": "hush-1", "datadog_application_key": "hush-2"},
        "query": "avg:errors{*}",
        "request": ("GET", "/api/v1/query"),
        "params": {"query": "avg:errors{*}", "from": str(NOW - 600), "to": str(NOW)},
        "headers": {"DD-API-KEY": "hush-1", "DD-APPLICATION-KEY": "hush-2"},
        "answer": '{"series": [{"pointlist": [[1577232000000, 1.5], [1577318400000, 9]]}]}',
        "value": 1.5,
        "empty": '{"series": []}',
        "probe": "/api/v1/validate",
    },
    "graphite": {
        "credentials": {"username": "u", "password": "hush-3"},
        "query": "target=sumSeries(app.http.*.count)\n  &from=-5min",
        "request": ("GET", "/render"),
        "params": {"target": "sumSeries(app.http.*.count) ", "from": "-5min", "format": "json"},
        "headers": {"Authorization": "Basic " + base64.b64encode(b"u:hush-3").decode()},
        "answer": '[{"target": "a", "datapoints": [[10, 1], [2.5, 2], [null, 3]]}]',
        "value": 2.5,
        "empty": '[{"target": "a", "datapoints": [[null, 1]]}]',
        "probe": "/render",
    },
    "influxdb": {
        "credentials": {"token": "hush-4", "org": "ml"},
        "query": 'from(bucket: "b")\n  |> range(start: -1m)',
        "request": ("POST", "/api/v2/query"),
        "params": {"org": "ml"},
        "headers": {"Authorization": "Token hush-4", "Content-Type": "application/json"},
        "answer": INFLUX,
        "value": 1.5,
        "empty": "\r\n",
        "probe": "/api/v2/query",
    },
    "newrelic": {
        "credentials": {"newrelic_account_id": "7", "newrelic_query_key": "hush-5"},
        "query": "SELECT average(duration) FROM Transaction",
        "request": ("GET", "/v1/accounts/7/query"),
        "params": {"nrql": "SELECT average(duration) FROM Transaction SINCE 60 seconds ago"},
        "headers": {"X-Query-Key": "hush-5"},
        "answer": '{"results": [{"result": 1.5}]}',
        "value": 1.5,
        "empty": '{"results": []}',
        "probe": "/v1/accounts/7/query",
    },
    "dynatrace": {
        "credentials": {"dynatrace_token": "hush-6"},
        "query": "builtin:service.response.time:avg",
        "request": ("GET", "/api/v2/metrics/query"),
        "params": {
            "metricSelector": "builtin:service.response.time:avg",
            "resolution": "Inf",
            "from": str((NOW - 600) * 1000),
            "to": str(NOW * 1000),
        },
        "headers": {"Authorization": "Api-Token hush-6"},
        "answer": '{"result": [{"data": [{"values": [9]}, {"values": [1.5, 3]}]}]}',
        "value": 1.5,
        "empty": '{"result": [{"data": []}]}',
        "probe": "/api/v2/metrics",
    },
}


def source(kind: str, address: str, **changes: Any) -> Source:
    return Source(kind=kind, address=address, secret=("n", "s"), **changes)


@pytest.mark.parametrize("kind", SPOKEN)
async def test_a_query_and_its_answer(kind: str, server: Server, servers: MetricServers) -> None:
    spoken = SPOKEN[kind]
    server.answers[spoken["request"][1]] = (200, spoken["answer"])
    sample = await servers.query(source(kind, f"{server.url}/"), spoken["query"], spoken["credentials"])
    assert sample == Sample(spoken["value"])
    method, path, params, headers, body = server.last()
    assert (method, path) == spoken["request"]
    assert params == spoken["params"]
    assert {name: headers[name] for name in spoken["headers"]} == spoken["headers"]
    if kind == "influxdb":
        assert json.loads(body)["query"] == spoken["query"]


@pytest.mark.parametrize("kind", SPOKEN)
async def test_no_values_are_no_value(kind: str, server: Server, servers: MetricServers) -> None:
    spoken = SPOKEN[kind]
    server.answers[spoken["request"][1]] = (200, spoken["empty"])
    sample = await servers.query(source(kind, server.url), spoken["query"], spoken["credentials"])
    assert sample == Sample(None)


@pytest.mark.parametrize("kind", SPOKEN)
async def test_a_refusal_is_told_without_the_secret(kind: str, server: Server, servers: MetricServers) -> None:
    spoken = SPOKEN[kind]
    secrets = [value for value in spoken["credentials"].values() if value.startswith("hush")]
    server.answers[spoken["request"][1]] = (403, f"the key {secrets[0]} is not known")
    sample = await servers.query(source(kind, server.url), spoken["query"], spoken["credentials"])
    assert sample.error == "error response: 403: the key *** is not known"


@pytest.mark.parametrize("kind", SPOKEN)
async def test_what_is_missing_from_the_secret_is_named(kind: str, server: Server, servers: MetricServers) -> None:
    sample = await servers.query(source(kind, server.url), "q", {})
    assert sample.error.startswith(f"{kind} credentials does not contain")
    assert server.asked == []


@pytest.mark.parametrize("kind", SPOKEN)
async def test_a_sign_of_life(kind: str, server: Server, servers: MetricServers) -> None:
    spoken = SPOKEN[kind]
    server.answers[spoken["probe"]] = (200, spoken["answer"])
    assert await servers.online(source(kind, server.url), spoken["credentials"]) == ""
    server.answers[spoken["probe"]] = (500, "down")
    assert await servers.online(source(kind, server.url), spoken["credentials"]) == "error response: 500: down"


async def test_nobody_listens(servers: MetricServers) -> None:
    credentials = SPOKEN["datadog"]["credentials"]
    sample = await servers.query(source("datadog", f"http://127.0.0.1:{free_port()}"), "q", credentials)
    assert sample.error.startswith("request failed: ")


async def test_influxdb_wants_doubles(server: Server, servers: MetricServers) -> None:
    server.answers["/api/v2/query"] = (200, INFLUX.replace("double", "string"))
    sample = await servers.query(source("influxdb", server.url), "q", SPOKEN["influxdb"]["credentials"])
    assert sample.error == "invalid response: _value is a string, not a double"


async def test_an_unknown_system_is_not_spoken_to(servers: MetricServers) -> None:
    assert (await servers.query(Source(kind="abacus"), "q")).error == "provider abacus is not supported"


async def test_an_answer_in_many_pieces_is_read_to_its_end(server: Server, servers: MetricServers) -> None:
    filler = "# " + "x" * 70_000 + "\n\n"
    server.answers["/v2/signalflow/execute"] = (200, filler + SIGNALFLOW + filler)
    sample = await servers.query(source("splunk", server.url), "q", SPOKEN["splunk"]["credentials"])
    assert sample == Sample(1.5)


QUERIES = (
    '[{"id": "e1", "expression": "m1 / 100", "returnData": true}, {"id": "m1", "metricStat": {"metric": '
    '{"namespace": "App", "metricName": "Errors", "dimensions": [{"name": "appName", "value": "chat"}]}, '
    '"period": 60, "stat": "Sum"}}]'
)


async def test_cloudwatch_is_asked_with_a_signature(
    server: Server, servers: MetricServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-7")
    server.answers["/"] = (200, '{"MetricDataResults": [{"Id": "e1", "Values": [1.5, 2]}]}')
    where = Source(kind="cloudwatch", address=server.url, region="eu-west-1", interval=30.0)
    assert await servers.query(where, QUERIES) == Sample(1.5)
    method, _, _, headers, body = server.last()
    sent = json.loads(body)
    assert method == "POST"
    assert headers["X-Amz-Target"] == "GraniteServiceVersion20100801.GetMetricData"
    assert "AKIDEXAMPLE/20270115/eu-west-1/monitoring/aws4_request" in headers["Authorization"]
    assert "hush" not in str(headers)
    assert (sent["StartTime"], sent["EndTime"], sent["MaxDatapoints"]) == (NOW - 300, NOW, 20)
    metric = sent["MetricDataQueries"][1]["MetricStat"]["Metric"]
    assert metric["Dimensions"] == [{"Name": "appName", "Value": "chat"}]
    server.answers["/"] = (200, '{"MetricDataResults": []}')
    assert await servers.query(where, QUERIES) == Sample(None)
    assert (await servers.query(where, "errors")).error.startswith(
        "error requesting cloudwatch: error unmarshaling query"
    )
    nowhere = await servers.query(Source(kind="cloudwatch"), QUERIES)
    assert nowhere.error == "error requesting cloudwatch: region not specified"
    server.answers["/"] = (400, "no queries")
    assert await servers.online(where) == ""
    server.answers["/"] = (403, "not you")
    assert await servers.online(where) == "error response: 403: not you"


async def test_stackdriver_is_asked_with_the_key_of_an_account(server: Server, servers: MetricServers) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "weir@p.example", "private_key": pem, "token_uri": f"{server.url}/token"}
    credentials = {"project": "p", "serviceAccountKey": json.dumps(account)}
    path = "/v3/projects/p/timeSeries:query"
    server.answers["/token"] = (200, '{"access_token": "issued"}')
    server.answers[path] = (200, '{"timeSeriesData": [{"pointData": [{"values": [{"doubleValue": 1.5}]}]}]}')
    where = source("stackdriver", server.url)
    assert await servers.query(where, "fetch k8s_container", credentials) == Sample(1.5)
    method, _, _, headers, body = server.last()
    assert (method, headers["Authorization"]) == ("POST", "Bearer issued")
    assert json.loads(body) == {"query": "fetch k8s_container"}
    claims = server.asked[0][4].partition("assertion=")[2].split(".")[1]
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert decoded["iss"] == "weir@p.example"
    assert decoded["aud"] == f"{server.url}/token"
    server.answers[path] = (200, "{}")
    assert await servers.query(where, "q", credentials) == Sample(None)
    missing = await servers.query(where, "q", {})
    assert missing.error == "error requesting stackdriver: stackdriver credentials does not contain a project id"
    server.answers["/token"] = (401, pem)
    refused = await servers.query(where, "q", credentials)
    assert refused.error == "error requesting stackdriver: the token endpoint issues no token: 401"


async def test_stackdriver_on_a_machine_of_google(
    server: Server, servers: MetricServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", server.url.removeprefix("http://"))
    server.answers["/computeMetadata/v1/instance/service-accounts/default/token"] = (200, '{"access_token": "own"}')
    server.answers["/v3/projects/p/timeSeries:query"] = (
        200,
        '{"timeSeriesData": [{"pointData": [{"values": [{"int64Value": "3"}]}]}]}',
    )
    assert await servers.query(source("stackdriver", server.url), "q", {"project": "p"}) == Sample(3.0)


async def test_external_metrics_from_another_address(server: Server, servers: MetricServers) -> None:
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/ml/queue_length"
    server.answers[path] = (200, '{"items": [{"value": "1500m"}, {"value": "9"}]}')
    where = source("externalmetrics", server.url)
    query = "ml/queue_length?labelSelector=app%3Dchat"
    assert await servers.query(where, query, {"token": "hush-8"}) == Sample(1.5)
    _, _, params, headers, _ = server.last()
    assert params == {"labelSelector": "app=chat"}
    assert headers["Authorization"] == "Bearer hush-8"
    server.answers[path] = (200, '{"items": []}')
    assert await servers.query(where, query) == Sample(None)
    assert "too many" not in (await servers.query(where, "queue_length")).error
    assert "malformed query string" in (await servers.query(where, "a/b/c")).error


async def test_external_metrics_that_the_cluster_does_not_serve(servers: MetricServers) -> None:
    where = Source(kind="externalmetrics")
    assert (await servers.query(where, "queue_length")).error.startswith("error querying external metrics API: ")
    assert (await servers.online(where)).startswith("external metrics service unavailable: ")


async def test_keptn_s_objects(
    servers: MetricServers, admin: Admin, rollouts: Rollouts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), KEPTN)
    where, namespace = Source(kind="keptn"), rollouts.namespace
    meta = {"name": "errors", "namespace": namespace}
    await admin.create({"apiVersion": KEPTN_API, "kind": "KeptnMetric", "metadata": meta})
    query = f"keptnmetric/{namespace}/errors"
    assert "no value found in resource" in (await servers.query(where, query)).error
    await admin.patch(KEPTN_API, "KeptnMetric", namespace, "errors", {"status": {"value": "1.5"}}, subresource="status")
    assert await servers.query(where, query) == Sample(1.5)
    assert "could not retrieve KeptnMetric" in (await servers.query(where, f"keptnmetric/{namespace}/nope")).error
    assert "must be in the format" in (await servers.query(where, "keptnmetric/errors")).error
    assert "unexpected resource kind" in (await servers.query(where, "metric/a/b")).error
    assert await servers.online(where) == ""


@pytest.mark.parametrize(("passes", "value"), [(True, 1.0), (False, 0.0)])
async def test_an_analysis_of_keptn_is_made_for_the_question_and_taken_away(
    servers: MetricServers,
    admin: Admin,
    rollouts: Rollouts,
    tmp_path_factory: pytest.TempPathFactory,
    passes: bool,
    value: float,
) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), KEPTN)
    namespace, made = rollouts.namespace, []

    async def finish() -> bool:
        """What Keptn's controller does."""
        for item in await admin.list(KEPTN_API, "Analysis", namespace):
            made.append(item["spec"])
            status = {"status": {"state": "Completed", "pass": passes}}
            await admin.patch(KEPTN_API, "Analysis", namespace, item["metadata"]["name"], status, subresource="status")
        return bool(made)

    finishing = asyncio.create_task(eventually(finish))
    query = f"analysis/{namespace}/release/5m/workload=chat;env=prod"
    assert await servers.query(Source(kind="keptn"), query) == Sample(value)
    await finishing
    assert made[0] == {
        "analysisDefinition": {"name": "release"},
        "timeframe": {"recent": "5m"},
        "args": {"workload": "chat", "env": "prod"},
    }
    assert await admin.list(KEPTN_API, "Analysis", namespace) == []
