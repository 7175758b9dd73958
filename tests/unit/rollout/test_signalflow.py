"""SignalFlow: which host is asked, and what its events say."""

import pytest

from agent.core.rollout.exchanges import UnusableError
from agent.core.rollout.judgement import Source
from agent.core.rollout.signalflow import SIGNALFLOW

TOKEN = {"sf_token_key": "hush"}


@pytest.mark.parametrize(
    ("given", "stream", "api"),
    [
        ("https://api.us1.signalfx.com", "https://stream.us1.signalfx.com", "https://api.us1.signalfx.com"),
        ("wss://stream.us1.signalfx.com/", "https://stream.us1.signalfx.com", "https://api.us1.signalfx.com"),
        ("ws://proxy.example:8080", "http://proxy.example:8080", "http://proxy.example:8080"),
    ],
)
def test_either_host_of_a_realm_may_be_named(given: str, stream: str, api: str) -> None:
    source = Source(kind="splunk", address=given)
    assert SIGNALFLOW.query(source, "q", TOKEN, 1000.0).url == f"{stream}/v2/signalflow/execute"
    assert SIGNALFLOW.probe(source, TOKEN, 1000.0).url == f"{api}/v2/metric"


@pytest.mark.parametrize(
    ("address", "error"),
    [("", "splunk endpoint is not set"), ("us1.signalfx.com", "splunk address us1.signalfx.com is not a valid URL")],
)
def test_an_address_that_cannot_be_asked(address: str, error: str) -> None:
    with pytest.raises(UnusableError, match=f"^{error}$"):
        SIGNALFLOW.query(Source(kind="splunk", address=address), "q", TOKEN, 1000.0)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            'event: data\ndata: {"data": [{"tsId": "A", "value": 1}, {"tsId": "B", "value": 2}]}\n\n',
            "invalid response: query returned multiple values",
        ),
        ('event: error\ndata: {"message": "no such function"}\n\n', "error executing query: no such function"),
        (
            'event: error\ndata: {"errors": [{"code": "ANALYTICS_PROGRAM"}]}\n\n',
            "error executing query: ANALYTICS_PROGRAM",
        ),
        ("event: data\ndata: {\n\n", "error unmarshaling result"),
        ('event: data\ndata: {"data": [{"tsId": "A", "value": "much"}]}', "invalid response: no number in 'much'"),
    ],
)
def test_an_answer_without_one_number(body: str, error: str) -> None:
    with pytest.raises(UnusableError, match=error):
        SIGNALFLOW.value(body.encode())


@pytest.mark.parametrize("body", ["", "<html>", ": a comment\n\nevent: data\n\n", "\xff"])
def test_an_answer_without_a_value(body: str) -> None:
    assert SIGNALFLOW.value(body.encode("latin-1")) is None
