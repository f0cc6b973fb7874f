"""The Qwen3 architecture in torch, with Hugging Face's parameter names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of the model."""

    vocab_size: int = 2048
    hidden_size: int = 192
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 512
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 4096

    def config(self) -> dict[str, Any]:
        """Return the content of config.json for transformers and mlx-lm."""
        sizes = asdict(self)
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            **sizes,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
        }


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return the root-mean-square norm over the last axis, computed in float32."""
    y = x.float()
    y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)
    return (y * weight.float()).to(x.dtype)


def rotary(length: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, each (length, head_dim), in float32."""
    frequencies = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    # `x` has shape (batch, length, heads, head_dim).
    left, right = x.chunk(2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return (x.float() * cos + torch.cat((-right, left), -1).float() * sin).to(x.dtype)


class CausalAttention(torch.autograd.Function):
    """Causal attention in blocks of queries; each block attends to the keys up to its end.

    Queries have shape (n, groups, length, head_dim) and are already scaled. Keys and values have
    shape (n, length, head_dim). On a CPU the backward pass of torch's fused attention is several
    times slower.
    """

    BLOCK = 128

    @staticmethod
    def _blocks(length: int) -> list[tuple[int, int]]:
        block = CausalAttention.BLOCK
        return [(start, min(start + block, length)) for start in range(0, length, block)]

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n, groups, length, head = q.shape
        y = torch.empty_like(q)
        kept = []
        for start, end in CausalAttention._blocks(length):
            rows = q[:, :, start:end].reshape(n, -1, head)
            scores = torch.bmm(rows, k[:, :end].transpose(1, 2)).view(n, groups, end - start, end)
            future = torch.full((end - start, end - start), float("-inf"), dtype=q.dtype).triu(1)
            scores[..., start:] += future
            weights = torch.softmax(scores, -1)
            y[:, :, start:end] = torch.bmm(weights.view(n, -1, end), v[:, :end]).view(
                n, groups, -1, head
            )
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor]:
        dy: Tensor = gradients[0]
        q, k, v, *kept = ctx.saved_tensors
        n, groups, length, head = q.shape
        dq = torch.empty_like(q)
        dk, dv = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        for (start, end), weights in zip(CausalAttention._blocks(length), kept, strict=True):
            dy_rows = dy[:, :, start:end].reshape(n, -1, head)
            flat = weights.view(n, -1, end)
            dv[:, :end] += torch.bmm(flat.transpose(1, 2), dy_rows)
            dweights = torch.bmm(dy_rows, v[:, :end].transpose(1, 2)).view_as(weights)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype).view(
                n, -1, end
            )
            dq[:, :, start:end] = torch.bmm(dscores, k[:, :end]).view(n, groups, -1, head)
            dk[:, :end] += torch.bmm(
                dscores.transpose(1, 2), q[:, :, start:end].reshape(n, -1, head)
            )
        return dq, dk.to(k.dtype), dv.to(v.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention; shapes as for :class:`CausalAttention`."""
    if not q.is_cuda:
        found: Tensor = CausalAttention.apply(q, k, v)
        return found
    k, v = (x[:, None].expand_as(q) for x in (k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)


class Norm(nn.Module):
    """The weight of a norm; :func:`norm` computes the norm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class Attention(nn.Module):
    """The weights of grouped-query attention with normalised queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, head = shape.hidden_size, shape.head_dim
        self.q_proj = nn.Linear(size, shape.num_attention_heads * head, bias=False)
        self.k_proj = nn.Linear(size, shape.num_key_value_heads * head, bias=False)
        self.v_proj = nn.Linear(size, shape.num_key_value_heads * head, bias=False)
        self.o_proj = nn.Linear(shape.num_attention_heads * head, size, bias=False)
        self.q_norm, self.k_norm = Norm(head), Norm(head)


class Mlp(nn.Module):
    """The weights of the gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)


class Layer(nn.Module):
    """One transformer layer; the halves before and after attention are compiled separately."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.hidden_size)
        self.post_attention_layernorm = Norm(shape.hidden_size)

    def before(self) -> tuple[Tensor, ...]:
        """Return the weights that :func:`before_attention` takes."""
        own = self.self_attn
        projections = (own.q_proj.weight, own.k_proj.weight, own.v_proj.weight)
        return (self.input_layernorm.weight, *projections, own.q_norm.weight, own.k_norm.weight)

    def after(self) -> tuple[Tensor, ...]:
        """Return the weights that :func:`after_attention` takes."""
        mlp = self.mlp
        return (
            self.self_attn.o_proj.weight, self.post_attention_layernorm.weight,
            mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight,
        )  # fmt: skip


HEADS, GROUPS, HEAD, EPS = 2, 2, 64, 1e-6
"""Key-value heads, queries per key-value head, head size and norm epsilon.

They are constants because constants compile well.
"""


def before_attention(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    scale: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    qn: Tensor,
    kn: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of `x` for :class:`CausalAttention`.

    `x` has shape (batch, length, hidden).
    """
    batch, length, _ = x.shape
    joint = functional.linear(norm(x, scale, EPS), torch.cat((wq, wk, wv))).view(
        batch, length, -1, HEAD
    )
    q, k, v = joint.split((HEADS * GROUPS, HEADS, HEADS), 2)
    q = _rotate(norm(q, qn, EPS), cos, sin) * HEAD**-0.5
    k = _rotate(norm(k, kn, EPS), cos, sin)
    return (
        q.view(batch, length, HEADS, GROUPS, HEAD)
        .permute(0, 2, 3, 1, 4)
        .reshape(batch * HEADS, GROUPS, length, HEAD),
        k.permute(0, 2, 1, 3).reshape(batch * HEADS, length, HEAD),
        v.permute(0, 2, 1, 3).reshape(batch * HEADS, length, HEAD),
    )


def after_attention(
    x: Tensor, y: Tensor, wo: Tensor, scale: Tensor, gate: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """Return the layer's output from its input `x` and the attention output `y`."""
    batch, length, _ = x.shape
    y = y.view(batch, HEADS, GROUPS, length, HEAD).permute(0, 3, 1, 2, 4)
    x = x + functional.linear(y.reshape(batch, length, HEADS * GROUPS * HEAD), wo)
    left, right = functional.linear(norm(x, scale, EPS), torch.cat((gate, up))).chunk(2, -1)
    return x + functional.linear(functional.silu(left) * right, down)


@dataclass
class States:
    """What the layers compute: their outputs (batch, length, hidden), queries and keys.

    Queries and keys have the shapes that :class:`CausalAttention` takes.
    """

    outputs: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]

    def scores(self, layer: int, head: int) -> Tensor:
        """Return the scores (batch, length, length) of one head, before the causal mask."""
        n, _, length, size = self.queries[layer - 1].shape
        own, group = divmod(head, GROUPS)
        q = self.queries[layer - 1].view(n // HEADS, HEADS, GROUPS, length, size)[:, own, group]
        k = self.keys[layer - 1].view(n // HEADS, HEADS, length, size)[:, own]
        return torch.bmm(q, k.transpose(1, 2))


class Trunk(nn.Module):
    """All layers below the output head; the head shares the weights of the embedding."""

    def __init__(self, shape: Shape, compiled: bool = False) -> None:
        super().__init__()
        self.shape = shape
        if (shape.num_key_value_heads, shape.head_dim, shape.num_attention_heads) != (
            HEADS,
            HEAD,
            HEADS * GROUPS,
        ):
            raise ValueError("HEADS, GROUPS and HEAD in model.py must be those of the shape")
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size)
        self._before: Any = (
            torch.compile(before_attention, dynamic=True) if compiled else before_attention
        )
        self._after: Any = (
            torch.compile(after_attention, dynamic=True) if compiled else after_attention
        )
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 0.02 if "embed" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=scale)
                if "o_proj" in name or "down_proj" in name:
                    nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map tokens (batch, length) to hidden states (batch, length, hidden)."""
        return self.normed(self.states(tokens, cos, sin).outputs[-1])

    def states(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> States:
        """Map tokens (batch, length) to what all layers compute of them."""
        x: Tensor = self.embed_tokens(tokens)
        found = States([], [], [])
        for layer in self.layers:
            assert isinstance(layer, Layer)
            q, k, v = self._before(x, cos, sin, *layer.before())
            x = self._after(x, attend(q, k, v), *layer.after())
            found.outputs.append(x)
            found.queries.append(q)
            found.keys.append(k)
        return found

    def normed(self, state: Tensor) -> Tensor:
        """Return the last layer's output as the head takes it."""
        return norm(state, self.norm.weight, EPS)
