"""Which metrics tell how well a model server serves: one pack a server, as data.

Names are those of each server's own documentation. A series may have had another name in an earlier version; the first
name that a pod exports counts. What a server does not export (vLLM counts no errors) is taken from the usual HTTP
instrumentation. End-to-end latency of LLMs counts only where a Canary lists it: it depends on how much a model says.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

_SECOND: Final = 1.0
_MICROSECOND: Final = 1e-6
_PERCENT: Final = 100.0


class Series(msgspec.Struct, frozen=True):
    """A counter under the names that it has had, the present one first. `matching` are PromQL label matchers.
    `otherwise`: what counts the same where a pod exports none of these, with labels of its own."""

    names: tuple[str, ...]
    matching: str = ""
    otherwise: Series | None = None

    def forms(self) -> tuple[tuple[str, str], ...]:
        """All names with their matchers, best first."""
        here = tuple((name, self.matching) for name in self.names)
        return here if self.otherwise is None else (*here, *self.otherwise.forms())


class RateMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A share of requests. All are those of `total`, and of `bad` as well if that `counts_apart`. `limited`: a ceiling
    holds for it even if none is asked for."""

    name: str
    total: Series
    bad: Series
    counts_apart: bool = False
    limited: bool = False


class LatencyMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram, by its names without `_bucket`. `unit`: seconds in one of its units. `if_listed`: it counts only if
    the Canary lists it. `sizes`: the histogram of the lengths of prompts, in tokens, on which it depends."""

    name: str
    names: tuple[str, ...]
    unit: float = _SECOND
    if_listed: bool = False
    sizes: tuple[str, ...] = ()


class Per(enum.StrEnum):
    """What a number is a number of."""

    REQUEST = "request"
    SECOND = "second"
    """Of one pod."""
    WINDOW = "window"
    """All pods together."""
    MOMENT = "moment"
    """A gauge: its mean over time and pods."""


class NumberMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A number that cannot be tested: a mean where a server has no histogram, a pace, a level, a count of events.

    `requests` is the counter of those that a value per request is of. `unit`: one of the server's units in the unit of
    the metric; `seconds`: that is seconds.
    """

    name: str
    value: Series
    per: Per = Per.REQUEST
    requests: Series | None = None
    unit: float = 1.0
    seconds: bool = False
    if_listed: bool = False


PackMetric = RateMetric | LatencyMetric | NumberMetric


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of a server. `servers` are its names in the table of model servers."""

    name: str
    metrics: tuple[PackMetric, ...]
    servers: tuple[str, ...] = ()


SUCCESS_RATE: Final = "request-success-rate"
DURATION: Final = "request-duration"

_HTTP_DURATION: Final = ("http_request_duration_seconds",)
_FAILED: Final = 'status=~"5.*"'
_KNATIVE: Final = ("kn_serving_invocation_duration_seconds_count",)
_OLD_KNATIVE: Final = ("revision_app_request_count", "revision_request_count")
"""What Knative's proxy in each pod counts, for servers that count no requests of their own."""


def _http_errors(name: str) -> RateMetric:
    counts = ("http_requests_total", "http_request_duration_seconds_count")
    proxied = Series(_KNATIVE), Series(_KNATIVE, 'http_response_status_code=~"5.*"')
    earlier = Series(_OLD_KNATIVE), Series(_OLD_KNATIVE, 'response_code_class="5xx"')
    total, bad = (Series(new.names, new.matching, old) for new, old in zip(proxied, earlier, strict=True))
    return RateMetric(
        name=name, total=Series(counts, otherwise=total), bad=Series(counts, _FAILED, otherwise=bad), limited=True
    )


def _vllm_finished(name: str, reason: str) -> RateMetric:
    finished = ("vllm:request_success_total",)
    return RateMetric(name=name, total=Series(finished), bad=Series(finished, f'finished_reason="{reason}"'))


def _mean_latency(name: str, value: Series, requests: Series) -> NumberMetric:
    return NumberMetric(name=name, value=value, requests=requests, unit=_MICROSECOND, seconds=True)


def _tokens(generated: Series, requests: Series) -> tuple[NumberMetric, ...]:
    return (
        NumberMetric(name="llm-output-tokens", value=generated, requests=requests, if_listed=True),
        NumberMetric(name="tokens-per-second-per-replica", value=generated, per=Per.SECOND, if_listed=True),
    )


def _level(name: str, *names: str, unit: float = 1.0) -> NumberMetric:
    return NumberMetric(name=name, value=Series(names), per=Per.MOMENT, unit=unit, if_listed=True)


COMMON: Final = (
    NumberMetric(
        name="restart-count",
        value=Series(("kube_pod_container_status_restarts_total",)),
        per=Per.WINDOW,
        if_listed=True,
    ),
)
"""What does not depend on the server: what kube-state-metrics tells of its pods."""

HTTP: Final = Pack(
    name="http",
    metrics=(
        RateMetric(
            name=SUCCESS_RATE,
            total=Series(("http_request_duration_seconds_count",)),
            bad=Series(("http_request_duration_seconds_count",), _FAILED),
            limited=True,
        ),
        LatencyMetric(name=DURATION, names=_HTTP_DURATION),
    ),
)
"""What an application's own HTTP instrumentation exports: the source of the two built-in metrics."""

_VLLM_PROMPTS: Final = ("vllm:request_prompt_tokens",)
VLLM: Final = Pack(
    name="vllm",
    servers=("vLLM",),
    metrics=(
        _http_errors("llm-error-rate"),
        _vllm_finished("llm-abort-rate", "abort"),
        _vllm_finished("llm-truncation-rate", "length"),
        LatencyMetric(name="llm-ttft", names=("vllm:time_to_first_token_seconds",), sizes=_VLLM_PROMPTS),
        LatencyMetric(
            name="llm-itl",
            names=(
                "vllm:request_time_per_output_token_seconds",  # one sample a request: those of a token are no samples
                "vllm:inter_token_latency_seconds",
                "vllm:time_per_output_token_seconds",
            ),
        ),
        LatencyMetric(name="llm-queue-time", names=("vllm:request_queue_time_seconds",)),
        LatencyMetric(
            name="llm-latency", names=("vllm:e2e_request_latency_seconds",), if_listed=True, sizes=_VLLM_PROMPTS
        ),
        *_tokens(Series(("vllm:generation_tokens_total",)), Series(("vllm:request_success_total",))),
        _level("llm-kv-pressure", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", unit=_PERCENT),
        _level("llm-queue-length", "vllm:num_requests_waiting"),
        NumberMetric(
            name="llm-preemptions",
            value=Series(("vllm:num_preemptions_total",)),
            requests=Series(("vllm:request_success_total",)),
            if_listed=True,
        ),
    ),
)
_SGLANG_PROMPTS: Final = ("sglang:prompt_tokens_histogram",)
SGLANG: Final = Pack(
    name="sglang",
    servers=("SGLang",),
    metrics=(
        RateMetric(
            name="llm-error-rate",
            total=Series(("sglang:num_requests_total",)),
            bad=Series(("sglang:num_aborted_requests_total",)),
            limited=True,
        ),
        LatencyMetric(name="llm-ttft", names=("sglang:time_to_first_token_seconds",), sizes=_SGLANG_PROMPTS),
        LatencyMetric(
            name="llm-itl", names=("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds")
        ),
        LatencyMetric(name="llm-queue-time", names=("sglang:queue_time_seconds",)),
        LatencyMetric(
            name="llm-latency", names=("sglang:e2e_request_latency_seconds",), if_listed=True, sizes=_SGLANG_PROMPTS
        ),
        *_tokens(Series(("sglang:generation_tokens_total",)), Series(("sglang:num_requests_total",))),
        _level("llm-kv-pressure", "sglang:token_usage", unit=_PERCENT),
        _level("llm-queue-length", "sglang:num_queue_reqs"),
    ),
)
TGI: Final = Pack(
    name="tgi",
    servers=("Text Generation Inference",),
    metrics=(
        RateMetric(
            name="llm-error-rate",
            total=Series(("tgi_request_count",)),
            bad=Series(("tgi_request_failure",), 'err!="validation"'),
            limited=True,
        ),
        LatencyMetric(name="llm-itl", names=("tgi_request_mean_time_per_token_duration",)),
        LatencyMetric(name="llm-queue-time", names=("tgi_request_queue_duration",)),
        LatencyMetric(
            name="llm-latency", names=("tgi_request_duration",), if_listed=True, sizes=("tgi_request_input_length",)
        ),
        *_tokens(Series(("tgi_request_generated_tokens_sum",)), Series(("tgi_request_success",))),
        _level("llm-queue-length", "tgi_queue_size"),
    ),
)
TRITON: Final = Pack(
    name="triton",
    servers=("Triton",),
    metrics=(
        RateMetric(
            name="predict-error-rate",
            total=Series(("nv_inference_request_success",)),
            bad=Series(("nv_inference_request_failure",)),
            counts_apart=True,
            limited=True,
        ),
        _mean_latency(
            "predict-latency", Series(("nv_inference_request_duration_us",)), Series(("nv_inference_request_success",))
        ),
        _mean_latency(
            "predict-queue-time", Series(("nv_inference_queue_duration_us",)), Series(("nv_inference_request_success",))
        ),
    ),
)
KSERVE: Final = Pack(
    name="kserve",
    servers=("KServe huggingfaceserver", "KServe Python servers"),
    metrics=(
        _http_errors("predict-error-rate"),
        LatencyMetric(name="predict-latency", names=("request_predict_seconds",)),
        *(metric for metric in VLLM.metrics if not isinstance(metric, RateMetric)),
    ),
)
MLSERVER: Final = Pack(
    name="mlserver",
    servers=("MLServer",),
    metrics=(
        RateMetric(
            name="predict-error-rate",
            total=Series(("model_infer_request_success_total", "model_infer_request_success")),
            bad=Series(("model_infer_request_failure_total", "model_infer_request_failure")),
            counts_apart=True,
            limited=True,
        ),
        LatencyMetric(
            name="predict-latency",
            names=("rest_server_requests_duration_seconds", "rest_server_request_duration_seconds"),
        ),
    ),
)
SELDON: Final = Pack(
    name="seldon",
    metrics=(
        RateMetric(
            name="predict-error-rate",
            total=Series(("seldon_model_infer_total",)),
            bad=Series(("seldon_model_infer_total",), 'code=~"5.*|Internal|Unavailable|Unknown|DeadlineExceeded"'),
            limited=True,
        ),
        LatencyMetric(name="predict-latency", names=("seldon_model_infer_api_seconds",)),
    ),
)
TORCHSERVE: Final = Pack(
    name="torchserve",
    servers=("TorchServe",),
    metrics=(
        RateMetric(
            name="predict-error-rate",
            total=Series(("ts_inference_requests_total",)),
            bad=Series(("Requests5XX", "Requests5XX_total")),
            limited=True,
        ),
        _mean_latency(
            "predict-latency", Series(("ts_inference_latency_microseconds",)), Series(("ts_inference_requests_total",))
        ),
        _mean_latency(
            "predict-queue-time", Series(("ts_queue_latency_microseconds",)), Series(("ts_inference_requests_total",))
        ),
    ),
)
_PICKED: Final = ("llm_d_epp_request_total", "inference_objective_request_total")
_PICKED_ERRORS: Final = ("llm_d_epp_request_error_total", "inference_objective_request_error_total")
_PICKED_PROMPTS: Final = ("llm_d_epp_request_input_tokens", "inference_objective_input_tokens")
ENDPOINT_PICKER: Final = Pack(
    name="endpoint-picker",
    metrics=(
        RateMetric(
            name=SUCCESS_RATE,
            total=Series(_PICKED),
            bad=Series(_PICKED_ERRORS, 'error_code!~"BadRequest|Unauthorized|Forbidden|ResourceExhausted"'),
            limited=True,
        ),
        LatencyMetric(
            name=DURATION,
            names=("llm_d_epp_request_duration_seconds", "inference_objective_request_duration_seconds"),
            if_listed=True,
            sizes=_PICKED_PROMPTS,
        ),
        LatencyMetric(name="llm-ttft", names=("llm_d_epp_request_ttft_seconds",), sizes=_PICKED_PROMPTS),
        LatencyMetric(name="llm-itl", names=("llm_d_epp_request_streaming_tpot_seconds",)),
    ),
)
"""What llm-d's endpoint picker counts by the name to which it has rewritten a request's model (`target_model_name`).
vLLM itself counts the requests of adapters among those of their base model. Every answer but 200 is an error."""
NONE: Final = Pack(name="none", metrics=())
"""Only what the Canary lists."""

PACKS: Final[Mapping[str, Pack]] = {
    pack.name: pack
    for pack in (HTTP, VLLM, SGLANG, TGI, TRITON, KSERVE, MLSERVER, SELDON, TORCHSERVE, ENDPOINT_PICKER, NONE)
}
"""By name, as the annotation `weir.dev/metric-pack` has it."""

_BY_SERVER: Final = {server: pack for pack in PACKS.values() for server in pack.servers}


def pack_for(server: str) -> Pack:
    """The pack of a server by its name in the table of model servers; the usual HTTP metrics for all others."""
    return _BY_SERVER.get(server, HTTP)
