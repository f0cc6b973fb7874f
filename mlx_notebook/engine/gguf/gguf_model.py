"""Build a model from a GGUF file: first its layers, then its weights, tensor by tensor.

The file is read once, in the order of its tensors. It is not mapped: a mapped file that is cut off
while it is read would end the process.
"""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes

from mlx_notebook.engine.gguf.block_types import quantized
from mlx_notebook.model_files.gguf.gguf_architectures import (
    INTERLEAVED,
    ROPE_FREQUENCIES,
    architecture,
    check_loadable,
    config_of,
    module_name,
)
from mlx_notebook.model_files.gguf.gguf_header import (
    GgufHeader,
    GgufTensor,
    read_header,
    read_range,
)
from mlx_notebook.model_files.gguf.gguf_kinds import BY_NAME, GROUP

_SLICE_BYTES = 64 * 2**20
_FLOATS = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
# Llama 3.1 and later: the other numbers of their rotary scaling are the same in all.
_LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


class GgufModelFile:
    """A GGUF file whose model can be loaded.

    Attributes
    ----------
    header
        Its metadata, and where its tensors are.
    config
        What config.json would say, with `quantization` as mlx-lm writes it.

    Raises
    ------
    ValueError
        If it cannot be loaded; the message says why.
    OSError
        If it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.header: GgufHeader = read_header(file)
        check_loadable(self.header)
        self.config = config_of(self.header)
        self._architecture = architecture(self.header)
        self._modules = {
            name: tensor
            for tensor in self.header.tensors
            if (name := module_name(self._architecture, tensor.name)) is not None
        }
        self._set_rope_scaling()
        self._set_quantization()

    def build(self) -> Any:
        """Return the model without its weights.

        Raises
        ------
        ValueError
            If the tensors of the file are not those of its architecture.
        """
        model_class, arguments = _get_classes(self.config)
        model = model_class(arguments.from_dict(self.config))
        bits = {
            name.removesuffix(".weight"): kind.bits
            for name, tensor in self._modules.items()
            if (kind := BY_NAME[tensor.kind]).bits is not None
        }

        def choose(path: str, module: Any) -> bool | dict[str, Any]:
            return {"group_size": GROUP, "bits": bits[path]} if path in bits else False

        nn.quantize(model, class_predicate=choose)
        model.set_dtype(getattr(mx, self.config["torch_dtype"]))
        model.eval()
        self._check_shapes(dict(tree_flatten(model.parameters())))
        return model

    def read(self, model: Any, places: Mapping[str, str]) -> Generator[int, None, int]:
        """Read the weights into a model, in slices; yield and return the bytes in memory.

        Parameters
        ----------
        places
            The parameters of the model by their names in `build`'s. An adapter renames some.
        """
        types = {name: array.dtype for name, array in tree_flatten(model.parameters())}
        done = since = 0
        for name, tensor in sorted(self._modules.items(), key=lambda entry: entry[1].offset):
            arrays = []
            for plain, array in self._arrays(name, tensor).items():
                place = places[plain]
                if mx.issubdtype(array.dtype, mx.floating):
                    array = array.astype(types[place])
                arrays.append((place, array))
            mx.eval([array for _, array in arrays])
            model.load_weights(arrays, strict=False)
            size = sum(array.nbytes for _, array in arrays)
            done, since = done + size, since + size
            if since >= _SLICE_BYTES:
                since = 0
                yield done
        return done

    def _arrays(self, name: str, tensor: GgufTensor) -> dict[str, mx.array]:
        """Return the arrays of a tensor by mlx-lm's names."""
        content = np.frombuffer(read_range(self.file, tensor.offset, tensor.size), dtype=np.uint8)
        kind = BY_NAME[tensor.kind]
        if kind.bits is None:
            array = mx.array(content).view(_FLOATS[kind.name]).reshape(tensor.shape)
            return {name: self._ordered(tensor, array)}
        width = tensor.shape[-1] // kind.values
        parts = quantized(kind.name, mx.array(content).reshape(-1, width, kind.size))
        stem = name.removesuffix(".weight")
        names = name, f"{stem}.scales", f"{stem}.biases"
        return {
            part: self._ordered(tensor, array.reshape(*tensor.shape[:-1], -1))
            for part, array in zip(names, parts, strict=True)
        }

    def _ordered(self, tensor: GgufTensor, array: mx.array) -> mx.array:
        """Return the rows of a query or key matrix in the order of mlx-lm's layers."""
        if self._architecture not in INTERLEAVED:
            return array
        for part, heads in (("attn_q", "num_attention_heads"), ("attn_k", "num_key_value_heads")):
            if f".{part}." in tensor.name:
                pairs = array.reshape(
                    self.config[heads], self.config["head_dim"] // 2, 2, *array.shape[1:]
                )
                return pairs.swapaxes(1, 2).reshape(array.shape)
        return array

    def _check_shapes(self, wanted: dict[str, mx.array]) -> None:
        found: dict[str, tuple[int, ...]] = {}
        for name, tensor in self._modules.items():
            bits = BY_NAME[tensor.kind].bits
            *rows, width = tensor.shape
            if bits is None:
                found[name] = tensor.shape
                continue
            stem = name.removesuffix(".weight")
            found[name] = (*rows, width * bits // 32)
            found[f"{stem}.scales"] = found[f"{stem}.biases"] = (*rows, width // GROUP)
        for name, array in wanted.items():
            if name not in found:
                raise ValueError(f"its file lacks the tensor {name}.")
            if found[name] != array.shape:
                raise ValueError(
                    f"the tensor {name} has the shape {found[name]}, and its architecture needs "
                    f"{array.shape}."
                )
        if extra := sorted(found.keys() - wanted.keys()):
            raise ValueError(f"its architecture has no tensor {extra[0]}.")

    def _set_quantization(self) -> None:
        kinds = {name: BY_NAME[tensor.kind].bits for name, tensor in self._modules.items()}
        widths = [bits for bits in kinds.values() if bits is not None]
        if not widths:
            return
        usual = max(set(widths), key=widths.count)
        settings: dict[str, Any] = {"group_size": GROUP, "bits": usual, "mode": "affine"}
        for name, bits in kinds.items():
            if bits is not None and bits != usual:
                layer = {"group_size": GROUP, "bits": bits, "mode": "affine"}
                settings[name.removesuffix(".weight")] = layer
        self.config["quantization"] = settings

    def _set_rope_scaling(self) -> None:
        """State the scaling whose factors the file has as a tensor.

        Raises
        ------
        ValueError
            If it is not that of Llama 3.1.
        """
        tensor = next((t for t in self.header.tensors if t.name == ROPE_FREQUENCIES), None)
        if tensor is None:
            return
        if tensor.kind != "F32":
            raise ValueError("the factors of its rotary positions are no 32-bit floats.")
        factors = np.frombuffer(read_range(self.file, tensor.offset, tensor.size), dtype=np.float32)
        scaling = {**_LLAMA3, "factor": float(factors.max())}
        expected = _llama3_factors(self.config["head_dim"], self.config["rope_theta"], scaling)
        if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-3):
            raise ValueError("the scaling of its rotary positions is not that of Llama 3.1.")
        self.config["rope_scaling"] = scaling


def _llama3_factors(width: int, base: float, scaling: dict[str, Any]) -> np.ndarray:
    """Return what each wave length is multiplied by, of shape (width / 2,).

    Long waves are stretched by the factor, short ones stay, those between are interpolated:
    https://github.com/meta-llama/llama-models/blob/main/models/llama3_1/api/model.py
    """
    lengths = 2 * np.pi * base ** (np.arange(0, width, 2, dtype=np.float64) / width)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    share = (scaling["original_max_position_embeddings"] / lengths - low) / (high - low)
    share = np.clip(share, 0.0, 1.0)
    factors: np.ndarray = 1.0 / ((1 - share) / scaling["factor"] + share)
    return factors
