"""vLLM's flags, which other servers and resources take as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.core.models.extract.server import Setting

OUTPUT: Final = Setting("config")
NAME: Final = Setting("config", frozenset({"api-name"}))
SHARDS: Final = Setting("config", frozenset({"accelerator"}))
PLAIN: Final = Setting("config", frozenset())
QUANTIZATION: Final = Setting("quantization")
TEMPLATE: Final = Setting("chat-template", reference=True)

SETTINGS: Final[Mapping[str, Setting]] = {
    "tokenizer": Setting("tokenizer", reference=True, revision="tokenizer-revision"),
    "tokenizer-mode": Setting("tokenizer"),
    "chat-template": TEMPLATE,
    "chat-template-content-format": Setting("chat-template"),
    "quantization": QUANTIZATION,
    "dtype": OUTPUT,
    "kv-cache-dtype": OUTPUT,
    "max-model-len": OUTPUT,
    "config": OUTPUT,
    "generation-config": Setting("config", reference=True, words=frozenset({"auto", "vllm"})),
    "override-generation-config": OUTPUT,
    "hf-overrides": OUTPUT,
    "hf-config-path": Setting("config", reference=True),
    "code-revision": OUTPUT,
    "load-format": OUTPUT,
    "speculative-config": OUTPUT,
    "trust-remote-code": OUTPUT,
    "tool-call-parser": OUTPUT,
    "reasoning-parser": OUTPUT,
    "seed": OUTPUT,
    "task": OUTPUT,
    "runner": OUTPUT,
    "convert": OUTPUT,
    "config-format": OUTPUT,
    "pooler-config": OUTPUT,
    "override-pooler-config": OUTPUT,
    "mm-processor-kwargs": OUTPUT,
    "rope-scaling": OUTPUT,
    "served-model-name": NAME,
    "tensor-parallel-size": SHARDS,
    "pipeline-parallel-size": SHARDS,
    "data-parallel-size": SHARDS,
    "enable-lora": PLAIN,
    "max-lora-rank": PLAIN,
    "max-loras": PLAIN,
    "max-num-seqs": PLAIN,
    "max-num-batched-tokens": PLAIN,
    "gpu-memory-utilization": PLAIN,
}
SWITCHES: Final = frozenset({
        "trust-remote-code", "enable-lora", "enable-prefix-caching", "no-enable-prefix-caching",
        "enable-chunked-prefill", "no-enable-chunked-prefill", "enforce-eager", "disable-log-requests",
        "disable-log-stats", "enable-auto-tool-choice", "enable-reasoning", "enable-expert-parallel",
        "enable-sleep-mode", "disable-custom-all-reduce", "allow-credentials", "disable-fastapi-docs",
        "enable-server-load-tracking", "return-tokens-as-token-ids", "headless", "enable-lora-bias",
        "skip-tokenizer-init", "calculate-kv-scales", "disable-sliding-window", "use-v2-block-manager",
        "enable-request-id-headers", "enable-force-include-usage", "enable-tokenizer-info-endpoint",
        "async-scheduling", "enable-prompt-embeds",
    })  # fmt: skip

SHORT: Final = {
    "q": "quantization",
    "tp": "tensor-parallel-size",
    "pp": "pipeline-parallel-size",
    "dp": "data-parallel-size",
}
