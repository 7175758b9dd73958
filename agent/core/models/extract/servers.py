"""Model servers: how each is recognised and which flags and variables name what it serves.

Flags and variables are those of each server's own documentation. A flag wins over a variable. Only listed settings
become slots: an unlisted flag may hold a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.core.models.extract.downloads import COPY, HF_DOWNLOAD, STORAGE_INITIALIZER
from agent.core.models.extract.server import Server, Setting
from agent.core.models.extract.vllm import (
    NAME,
    OUTPUT,
    PLAIN,
    QUANTIZATION,
    SETTINGS,
    SHARDS,
    SHORT,
    SWITCHES,
    TEMPLATE,
)
from agent.core.models.spelled import Grammar

VLLM: Final = Server(
    "vLLM",
    short=SHORT,
    programs=(("vllm", "serve"), ("vllm.entrypoints.openai.api_server",), ("vllm.entrypoints.api_server",)),
    images=("vllm",),
    model=("model", "model-tag"),
    positional=True,
    revision=("revision",),
    settings=SETTINGS,
    adapters=("lora-modules",),
    hot_adapters=True,
    hot_env="VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    config_file=True,
    switches=SWITCHES,
    lists=frozenset({"lora-modules", "served-model-name", "allowed-origins", "middleware"}),
)
SGLANG: Final = Server(
    "SGLang",
    short={
        "model": "model-path",
        "tp": "tensor-parallel-size",
        "tp-size": "tensor-parallel-size",
        "dp": "dp-size",
        "data-parallel-size": "dp-size",
    },
    programs=(("sglang.launch_server",), ("sglang", "serve")),
    images=("sglang",),
    model=("model-path",),
    revision=("revision",),
    settings={
        "tokenizer-path": Setting("tokenizer", reference=True),
        "tokenizer-mode": Setting("tokenizer"),
        "chat-template": TEMPLATE,
        "quantization": QUANTIZATION,
        "dtype": OUTPUT,
        "kv-cache-dtype": OUTPUT,
        "context-length": OUTPUT,
        "load-format": OUTPUT,
        "trust-remote-code": OUTPUT,
        "json-model-override-args": OUTPUT,
        "speculative-draft-model-path": Setting("model", reference=True),
        "served-model-name": NAME,
        "tool-call-parser": OUTPUT,
        "reasoning-parser": OUTPUT,
        "tensor-parallel-size": SHARDS,
        "dp-size": SHARDS,
        "mem-fraction-static": PLAIN,
    },
    adapters=("lora-paths",),
    hot_adapters=True,
    switches=frozenset(
        {
            "trust-remote-code",
            "enable-metrics",
            "disable-radix-cache",
            "disable-cuda-graph",
            "enable-torch-compile",
            "is-embedding",
            "skip-tokenizer-init",
            "log-requests",
            "enable-lora",
            "enable-dp-attention",
        }
    ),
    lists=frozenset({"lora-paths"}),
)
TGI: Final = Server(
    "Text Generation Inference",
    programs=(("text-generation-launcher",), ("text-generation-server", "serve")),
    images=("text-generation-inference",),
    model=("model-id",),
    model_env=("MODEL_ID",),
    revision=("revision",),
    revision_env=("REVISION",),
    settings={
        "tokenizer-config-path": Setting("tokenizer", env="TOKENIZER_CONFIG_PATH", reference=True),
        "quantize": Setting("quantization", env="QUANTIZE"),
        "dtype": OUTPUT._replace(env="DTYPE"),
        "kv-cache-dtype": OUTPUT._replace(env="KV_CACHE_DTYPE"),
        "max-input-tokens": OUTPUT._replace(env="MAX_INPUT_TOKENS"),
        "max-input-length": OUTPUT._replace(env="MAX_INPUT_LENGTH"),
        "max-total-tokens": OUTPUT._replace(env="MAX_TOTAL_TOKENS"),
        "rope-scaling": OUTPUT._replace(env="ROPE_SCALING"),
        "speculate": OUTPUT._replace(env="SPECULATE"),
        "trust-remote-code": OUTPUT._replace(env="TRUST_REMOTE_CODE"),
        "num-shard": SHARDS._replace(env="NUM_SHARD"),
    },
    adapters=("lora-adapters",),
    adapters_env="LORA_ADAPTERS",
    switches=frozenset({"trust-remote-code", "json-output", "disable-custom-kernels", "disable-grammar-support"}),
)
TEI: Final = Server(
    "Text Embeddings Inference",
    programs=(("text-embeddings-router",),),
    images=("text-embeddings-inference",),
    model=("model-id",),
    model_env=("MODEL_ID", "HF_MODEL_ID"),
    revision=("revision",),
    revision_env=("REVISION", "HF_REVISION", "HF_MODEL_REVISION"),
    settings={
        "hf-task": OUTPUT._replace(env="HF_TASK"),
        "dtype": OUTPUT._replace(env="DTYPE"),
        "pooling": OUTPUT._replace(env="POOLING"),
        "default-prompt": OUTPUT._replace(env="DEFAULT_PROMPT"),
        "served-model-name": NAME._replace(env="SERVED_MODEL_NAME"),
    },
)
HF_INFERENCE: Final = Server(
    "Hugging Face inference toolkit",
    programs=(),
    images=("huggingface-inference-toolkit", "huggingface-pytorch-inference", "huggingface-text-embeddings-inference"),
    model=("model-id",),
    model_env=("HF_MODEL_ID", "MODEL_ID"),
    revision=("revision",),
    revision_env=("HF_REVISION", "HF_MODEL_REVISION", "REVISION"),
    settings={"hf-task": OUTPUT._replace(env="HF_TASK")},
)
KSERVE_HF: Final = Server(
    "KServe huggingfaceserver",
    programs=(("huggingfaceserver",),),
    images=("huggingfaceserver",),
    model=("model-id", "model-dir"),
    revision=("model-revision",),
    settings={
        "tokenizer-revision": Setting("tokenizer"),
        "model-name": NAME,
        "backend": OUTPUT,
        "task": OUTPUT,
        "dtype": OUTPUT,
        "max-model-len": OUTPUT,
        "quantization": QUANTIZATION,
        "chat-template": TEMPLATE,
        "trust-remote-code": OUTPUT,
        "tensor-parallel-size": SHARDS,
    },
    adapters=("lora-modules",),
    switches=SWITCHES,
    lists=frozenset({"lora-modules"}),
)
KSERVE_PYTHON: Final = Server(
    "KServe Python servers",
    programs=(
        ("sklearnserver",),
        ("xgbserver",),
        ("lgbserver",),
        ("pmmlserver",),
        ("paddleserver",),
        ("predictiveserver",),
        ("autogluonserver",),
    ),
    images=("sklearnserver", "xgbserver", "lgbserver", "pmmlserver", "paddleserver", "predictiveserver", "autogluon"),
    model=("model-dir",),
    grammar=Grammar.GENERIC,
    settings={"model-name": NAME},
)
TRITON: Final = Server(
    "Triton",
    programs=(("tritonserver",),),
    images=("tritonserver",),
    model=("model-repository", "model-store"),
    grammar=Grammar.GENERIC,
    settings={
        "model-control-mode": OUTPUT,
        "load-model": OUTPUT,
        "repository-poll-secs": PLAIN,
        "backend-config": OUTPUT,
    },
)
TF_SERVING: Final = Server(
    "TensorFlow Serving",
    programs=(("tensorflow_model_server",),),
    images=("tensorflow/serving",),
    model=("model-base-path",),
    model_env=("MODEL_BASE_PATH",),
    grammar=Grammar.GENERIC,
    settings={
        "model-name": NAME._replace(env="MODEL_NAME"),
        "model-config-file": Setting("config", reference=True),
    },
)
TORCHSERVE: Final = Server(
    "TorchServe",
    programs=(("torchserve",),),
    images=("torchserve",),
    model=("model-store",),
    grammar=Grammar.GENERIC,
    settings={"ts-config": Setting("config", reference=True)},
    models=("models",),
    switches=frozenset({"start", "foreground", "ncs", "disable-token-auth"}),
    lists=frozenset({"models"}),
)
MLSERVER: Final = Server(
    "MLServer",
    programs=(("mlserver", "start"),),
    images=("mlserver",),
    model_env=("MLSERVER_MODEL_URI",),
    revision_env=("MLSERVER_MODEL_VERSION",),
    grammar=Grammar.GENERIC,
    settings={
        "model-name": NAME._replace(env="MLSERVER_MODEL_NAME"),
        "model-implementation": OUTPUT._replace(env="MLSERVER_MODEL_IMPLEMENTATION"),
    },
)
OLLAMA: Final = Server(
    "Ollama",
    programs=(("ollama", "pull"), ("ollama", "run")),
    positional=True,
    grammar=Grammar.OLLAMA,
)
LLAMA_CPP: Final = Server(
    "llama.cpp",
    short={
        "hf": "hf-repo",
        "hfr": "hf-repo",
        "hff": "hf-file",
        "mu": "model-url",
        "m": "model",
        "md": "model-draft",
        "hfd": "hf-repo-draft",
        "hfrd": "hf-repo-draft",
        "c": "ctx-size",
        "a": "alias",
    },
    programs=(("llama-server",),),
    images=("llama.cpp",),
    model=("hf-repo", "model-url", "model"),
    model_env=("LLAMA_ARG_HF_REPO", "LLAMA_ARG_MODEL_URL", "LLAMA_ARG_MODEL"),
    grammar=Grammar.LLAMA_CPP,
    file=("hf-file",),
    adapters=("lora",),
    file_env="LLAMA_ARG_HF_FILE",
    settings={
        "mmproj": Setting("model", env="LLAMA_ARG_MMPROJ", reference=True),
        "chat-template": Setting("chat-template", env="LLAMA_ARG_CHAT_TEMPLATE"),
        "chat-template-file": TEMPLATE._replace(env="LLAMA_ARG_CHAT_TEMPLATE_FILE"),
        "model-draft": Setting("model", reference=True),
        "hf-repo-draft": Setting("model", reference=True),
        "ctx-size": OUTPUT._replace(env="LLAMA_ARG_CTX_SIZE"),
        "alias": NAME,
    },
)
NIM: Final = Server(
    "NIM",
    programs=(),
    images=("nvcr.io/nim/",),
    model_env=("NIM_MODEL_NAME",),
    settings={
        "model-profile": OUTPUT._replace(env="NIM_MODEL_PROFILE"),
        "served-model-name": NAME._replace(env="NIM_SERVED_MODEL_NAME"),
        "peft-source": Setting("adapter", env="NIM_PEFT_SOURCE", reference=True),
    },
)
DYNAMO: Final = Server(
    "Dynamo workers",
    short=SHORT,
    programs=(("dynamo.vllm",), ("dynamo.sglang",), ("dynamo.trtllm",), ("dynamo.mocker",)),
    model=("model", "model-path"),
    revision=("revision",),
    settings=SETTINGS,
    switches=SWITCHES | {"is-prefill-worker", "is-decode-worker"},
)
GENERIC_FLAGS: Final = ("model-uri", "model-id", "model-path", "model", "model-name-or-path", "storage-uri")
GENERIC_REVISION_FLAGS: Final = ("model-revision", "model-version", "revision")
TRAINING: Final = Server(
    "training script",
    programs=(),
    model=GENERIC_FLAGS,
    revision=GENERIC_REVISION_FLAGS,
    grammar=Grammar.GENERIC,
    settings={"dataset": Setting("data"), "dataset-name": Setting("data")},
)
SERVERS: Final[tuple[Server, ...]] = (
    DYNAMO,
    KSERVE_HF,
    KSERVE_PYTHON,
    VLLM,
    SGLANG,
    TGI,
    TEI,
    HF_INFERENCE,
    TRITON,
    TF_SERVING,
    TORCHSERVE,
    MLSERVER,
    OLLAMA,
    LLAMA_CPP,
    NIM,
    STORAGE_INITIALIZER,
    HF_DOWNLOAD,
    COPY,
)

GENERIC_ENV: Final = ("MODEL_ID", "HF_MODEL_ID", "MODEL_PATH", "MODEL_NAME", "BASE_MODEL")
"""Variables that name the model of a container whose server is not known, best first."""
MODELSCOPE_ENV: Final = ("VLLM_USE_MODELSCOPE", "SGLANG_USE_MODELSCOPE")
"""Variables that have servers ask ModelScope for models, and not Hugging Face."""
NAME_ENV: Final = frozenset({"MODEL_NAME"})
"""Those of them that, beside a better one, are the name under which clients know the model."""
DELIVERED_ENV: Final = ("STORAGE_URI", "MODEL_URI")
"""Variables that name what is put into the folder that a server loads from, best first."""
CACHE_ENV: Final = ("HF_HUB_CACHE", "HF_HOME", "TRANSFORMERS_CACHE", "OLLAMA_MODELS")
"""Variables that name the folder in which a server looks for what it has downloaded before."""
GENERIC_REVISION_ENV: Final = ("MODEL_REVISION", "HF_MODEL_REVISION", "HF_REVISION", "MODEL_VERSION", "REVISION")


ENTRYPOINTS: Final = {"amazon/aws-cli": "aws", "rclone/rclone": "rclone", "ollama/ollama": "ollama"}
"""What images start with the arguments of a container that names no command of its own."""

_PROGRAMS: Final[dict[str, list[tuple[tuple[str, ...], Server]]]] = {}
for _server in SERVERS:
    for _program in _server.programs:
        _PROGRAMS.setdefault(_program[0], []).append((_program, _server))


def started_by_image(image: str) -> str | None:
    """The program that the image itself starts."""
    return next((program for part, program in ENTRYPOINTS.items() if part in image), None)


def recognise(argv: list[str]) -> tuple[Server, list[str]] | None:
    """The server that *argv* starts and its own arguments."""
    words = [word if word.startswith("-") else word.rpartition("/")[2] for word in argv]
    if words and words[0] == "echo":
        return None
    for index, word in enumerate(words):
        for program, server in _PROGRAMS.get(word, ()):
            if (end := _end(words, index, program)) is not None:
                return server, argv[end:]
    return None


def _end(words: Sequence[str], start: int, program: Sequence[str]) -> int | None:
    """The index after the last word of *program*, whose first stands at *start*; flags may stand between them."""
    index = start + 1
    for wanted in program[1:]:
        while index < len(words) and words[index].startswith("-"):
            apart = "=" not in words[index] and words[index + 1 : index + 2] not in ([], [wanted])
            index += 2 if apart and not words[index + 1].startswith("-") else 1
        if words[index : index + 1] != [wanted]:
            return None
        index += 1
    return index


def recognise_image(image: str) -> Server | None:
    """The server whose usual image *image* is, for containers that start it through the image's entry point."""
    repository = image.partition("@")[0].lower()
    return next((server for server in SERVERS if any(part in repository for part in server.images)), None)
