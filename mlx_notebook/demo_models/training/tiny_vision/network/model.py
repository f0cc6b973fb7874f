"""The network of tiny-vision in torch: a small Qwen3-VL with mlx-vlm's parameter names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of the network.

    The `eye` sizes and `patch` belong to the vision tower. All others belong to the language part,
    which is as large as tiny-chat apart from its vocabulary.
    """

    vocabulary: int = 1280
    hidden: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    feed_forward: int = 512
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6
    context: int = 4096
    sections: tuple[int, int, int] = field(default=(12, 10, 10))
    eye: int = 128
    eye_layers: int = 4
    eye_heads: int = 4
    eye_feed_forward: int = 384
    eye_positions: int = 16
    patch: int = 8

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes as plain values for a checkpoint."""
        return asdict(self)


def _half_turn(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos + _half_turn(x) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention of (batch, heads, length, head) in the dtype of `v`.

    `mask` is added to the scores. On a CPU the backward pass of plain products takes half the time
    of the fused kernel.
    """
    if v.is_cuda:
        return functional.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, mask)
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5).to(v.dtype) @ k.to(v.dtype).transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        return torch.softmax(scores.float(), -1).to(v.dtype) @ v


class EyeAttention(nn.Module):
    """Attention between all patches of one image."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.eye_heads
        self.qkv = nn.Linear(shape.eye, 3 * shape.eye)
        self.proj = nn.Linear(shape.eye, shape.eye)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            self.qkv(x)
            .view(batch, length, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        out = attend(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, length, width))


class EyeMLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(shape.eye, shape.eye_feed_forward)
        self.linear_fc2 = nn.Linear(shape.eye_feed_forward, shape.eye)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_fc2(functional.gelu(self.linear_fc1(x), approximate="tanh"))


class EyeBlock(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.eye, eps=1e-6)
        self.norm2 = nn.LayerNorm(shape.eye, eps=1e-6)
        self.attn = EyeAttention(shape)
        self.mlp = EyeMLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class Merger(nn.Module):
    """Merge the 2 x 2 patches of a cell into one token of the language part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.eye, eps=1e-6)
        self.linear_fc1 = nn.Linear(4 * shape.eye, 4 * shape.eye)
        self.linear_fc2 = nn.Linear(4 * shape.eye, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        x = x.reshape(x.shape[0], x.shape[1] // 4, -1)
        return self.linear_fc2(functional.gelu(self.linear_fc1(x)))


class Eye(nn.Module):
    """The vision tower: map the patches of images of one size to one vector per cell."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = nn.Linear(3 * shape.patch**2, shape.eye)
        self.pos_embed = nn.Embedding(shape.eye_positions**2, shape.eye)
        self._start_positions()
        self.blocks = nn.ModuleList(EyeBlock(shape) for _ in range(shape.eye_layers))
        self.merger = Merger(shape)
        self._grids: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def _start_positions(self) -> None:
        """Initialise two slopes: from noise alone the vision tower hardly learns positions."""
        nn.init.normal_(self.pos_embed.weight, std=0.05)  # small in comparison with the patches
        ways = torch.linalg.qr(torch.randn(self.shape.eye, 2))[0]
        along = torch.linspace(-2, 2, self.shape.eye_positions)
        rows, columns = torch.meshgrid(along, along, indexing="ij")
        with torch.no_grad():
            self.pos_embed.weight += torch.stack((columns.flatten(), rows.flatten()), 1) @ ways.T

    def _grid(self, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return cos, sin (n, head) and the four position indices and weights (4, n)."""
        if (rows, columns) not in self._grids:
            head = self.shape.eye // self.shape.eye_heads
            r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")

            def order(x: Tensor) -> Tensor:
                x = x.reshape(rows // 2, 2, columns // 2, 2)
                return x.permute(0, 2, 1, 3).reshape(-1)

            frequency = 1.0 / 10000 ** (torch.arange(0, head // 2, 2) / (head // 2))
            angle = torch.cat((order(r)[:, None] * frequency, order(c)[:, None] * frequency), -1)
            angle = torch.cat((angle, angle), -1)
            last = self.shape.eye_positions - 1
            y, x = torch.linspace(0, last, rows), torch.linspace(0, last, columns)
            y0, x0 = y.int(), x.int()
            y1, x1 = (y0 + 1).clamp(max=last), (x0 + 1).clamp(max=last)
            dy, dx = (y - y0)[:, None], (x - x0)[None, :]
            index, weight = [], []
            for yi, wy in ((y0, 1 - dy), (y1, dy)):
                for xi, wx in ((x0, 1 - dx), (x1, dx)):
                    index.append(order(yi[:, None] * (last + 1) + xi[None, :]))
                    weight.append(order(wy * wx))
            made = (angle.cos(), angle.sin(), torch.stack(index).long(), torch.stack(weight))
            cos, sin, at, share = (x.to(self.pos_embed.weight.device) for x in made)
            self._grids[rows, columns] = (cos, sin, at, share)
        return self._grids[rows, columns]

    def forward(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Map (batch, rows * columns, 3 * patch**2) to (batch, rows * columns / 4, hidden)."""
        cos, sin, index, weight = self._grid(rows, columns)
        position = (self.pos_embed(index) * weight[..., None]).sum(0)
        return self.body(patches, position, cos, sin)

    def body(self, patches: Tensor, position: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Run the blocks; this is separate from `forward` because it compiles well."""
        x = self.patch_embed(patches)
        x = x + position.to(x.dtype)
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.merger(x)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head, shape.hidden, bias=False)
        self.q_norm = nn.RMSNorm(shape.head, eps=shape.norm_eps)
        self.k_norm = nn.RMSNorm(shape.head, eps=shape.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        s = self.shape
        batch, length, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(batch, length, s.heads, s.head)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, length, s.kv_heads, s.head)).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, s.kv_heads, s.head).transpose(1, 2)
        q, k = _rotate(q, cos, sin).to(v.dtype), _rotate(k, cos, sin).to(v.dtype)
        repeat = s.heads // s.kv_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        out = attend(q, k, v, mask)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Speech(nn.Module):
    """The language part: Qwen3 with positions along three axes (time, row, column)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        axis = torch.zeros(shape.head // 2, dtype=torch.long)
        # Frequencies alternate between time, row and column; the rest belongs to time.
        axis[1 : 3 * shape.sections[1] : 3] = 1
        axis[2 : 3 * shape.sections[2] : 3] = 2
        self.register_buffer("axis", axis, persistent=False)
        frequency = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head, 2) / shape.head)
        self.register_buffer("frequency", frequency, persistent=False)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Map positions (3, batch, length) to cos and sin (batch, 1, length, head)."""
        axis, frequency = self.axis, self.frequency
        assert isinstance(axis, Tensor)
        assert isinstance(frequency, Tensor)
        angle = positions.permute(1, 2, 0).float()[..., axis] * frequency
        angle = torch.cat((angle, angle), -1)[:, None]
        return angle.cos(), angle.sin()

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Map embeddings (batch, length, hidden) to final hidden states of that shape."""
        return self.states(x, positions)[-1]

    def states(self, x: Tensor, positions: Tensor) -> list[Tensor]:
        """Return the hidden states after each layer; the last ones are normalised."""
        cos, sin = self.angles(positions)
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        return self.body(x, cos.to(x.dtype), sin.to(x.dtype), mask)

    def body(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> list[Tensor]:
        """Run the layers; this is separate from `states` because it compiles well."""
        states = []
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
            states.append(x)
        return [*states[:-1], self.norm(x)]


class TinyVision(nn.Module):
    """The vision tower and the language part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.visual = Eye(shape)
        self.language_model = Speech(shape)

    def embed(self, tokens: Tensor, seen: Tensor, image_token: int) -> Tensor:
        """Embed (batch, length) tokens; image tokens take the rows of `seen` (n, hidden)."""
        x = self.language_model.embed_tokens(tokens)
        if seen.numel():
            mask = (tokens == image_token)[..., None].expand_as(x)
            x = x.masked_scatter(mask, seen.to(x.dtype))
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of all tokens; the head shares the weights of the embedding."""
        return functional.linear(hidden, self.language_model.embed_tokens.weight)
