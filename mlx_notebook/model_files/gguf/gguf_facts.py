"""Facts about the model in a GGUF file, for the catalog."""

from collections import Counter
from logging import Logger
from pathlib import Path
from typing import Any

from mlx_notebook.model_files.fim_forms import find_form
from mlx_notebook.model_files.footprint import WeightBytes, kv_cache_size
from mlx_notebook.model_files.gguf.gguf_architectures import (
    check_loadable,
    config_of,
    loaded_arrays,
    parameter_count,
)
from mlx_notebook.model_files.gguf.gguf_header import (
    GgufHeader,
    GgufList,
    contains_text,
    read_header,
    read_range,
)
from mlx_notebook.model_files.gguf.gguf_kinds import BY_NAME
from mlx_notebook.model_files.model_facts import ModelFacts, template_capabilities, unusable

CHAT_TEMPLATE = "tokenizer.chat_template"
TOKENS = "tokenizer.ggml.tokens"


def read_facts(file: Path, log: Logger) -> ModelFacts:
    """Read a GGUF file. What is wrong with it becomes the `error` of the facts.

    Raises
    ------
    OSError
        If it cannot be read. A later attempt may succeed.
    """
    try:
        header = read_header(file)
        check_loadable(header)
        return _facts(file, header)
    except OSError:
        raise
    except ValueError as error:
        return unusable(str(error))
    except Exception as error:
        log.exception("The file %s could not be read.", file)
        return unusable(f"its file could not be read ({type(error).__name__})")


def _facts(file: Path, header: GgufHeader) -> ModelFacts:
    config = config_of(header)
    template = header.metadata.get(CHAT_TEMPLATE, "")
    status = file.stat()
    return ModelFacts(
        architecture=str(config["model_type"]),
        capabilities=template_capabilities(
            template if isinstance(template, str) else "", fim=_has_fim(file, header), vision=False
        ),
        quantization=_quantization(header),
        bytes_on_disk=status.st_size,
        weights=WeightBytes.of(loaded_arrays(header)),
        kv_cache=kv_cache_size(config),
        created=int(status.st_mtime),
        sampling_defaults={},
        counted_parameters=parameter_count(header),
    )


def _has_fim(file: Path, header: GgufHeader) -> bool:
    tokens: Any = header.metadata.get(TOKENS)
    if not isinstance(tokens, GgufList):
        raise ValueError("it has no tokenizer")
    content = read_range(file, tokens.offset, tokens.size)
    return find_form(lambda mark: contains_text(content, mark)) is not None


def _quantization(header: GgufHeader) -> str | None:
    """Return the type that most weights have, with its bits; None if they are not quantised."""
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        sizes[tensor.kind] += tensor.size
    (most, _), *_ = sizes.most_common(1)
    bits = BY_NAME[most].bits
    # Six bits become eight in memory; the name is that of the file.
    return None if bits is None else f"{int(most[1])}-bit {most}"
