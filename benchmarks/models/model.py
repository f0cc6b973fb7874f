"""The model that every contender loads. It never generates its end token.

`python -m benchmarks.models.model SOURCE TARGET --dtype float32` copies a model and adds one token,
with a row of zeros, as its only end token. So every stream runs to `max_tokens` in every contender,
without an option that only some of them have. SOURCE `random` makes an untrained Qwen3 model
(hidden size 192, 6 layers).
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

NEVER = "<|never|>"
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1))


def make_random(target: Path) -> None:
    """Write an untrained Qwen3 model, with a tokenizer trained on the text of this file."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import qwen3
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    target.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1280,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    tokenizer.train_from_iterator((p.read_text() for p in sources), trainer)
    tokenizer.save(str(target / "tokenizer.json"))
    config = _QWEN3 | {
        "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
    }
    _write(target / "config.json", config)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": _TEMPLATE,
    }
    _write(target / "tokenizer_config.json", settings)
    mx.random.seed(7)
    arguments = qwen3.ModelArgs.from_dict(config)
    model = qwen3.Model(arguments)
    parameters = dict(tree_flatten(model.parameters()))
    # An incomplete character delays the text: make tokens that are not ASCII unlikely.
    plain = [id for token, id in sorted(tokenizer.get_vocab().items()) if token.isascii()]
    table = mx.zeros_like(model.model.embed_tokens.weight)
    table[mx.array(plain)] = model.model.embed_tokens.weight[mx.array(plain)]
    parameters["model.embed_tokens.weight"] = table
    weights = {name: w.astype(mx.bfloat16) for name, w in parameters.items()}
    mx.save_safetensors(str(target / "model.safetensors"), weights, metadata={"format": "mlx"})


def make_endless(source: Path, target: Path, dtype: str) -> None:
    """Copy `source` to `target` with the weights in `dtype` and `NEVER` as the only end token.

    Raises `SystemExit` if the embedding is quantised or there is no `tokenizer.json`: then no row
    can be added.
    """
    import mlx.core as mx

    if not (source / "tokenizer.json").exists():
        raise SystemExit(f"{source.name} has no tokenizer.json; give a model that has one.")
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix in {".json", ".jinja", ".txt"}:
            shutil.copy(path, target)

    tokenizer = _read(target / "tokenizer.json")
    config = _read(target / "config.json")
    new = config["vocab_size"]
    entry = {
        "special": True,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    tokenizer["added_tokens"].append({"id": new, "content": NEVER} | entry)
    # The tokenizer must know all ids between its last one and the model's new row.
    used = {t["id"] for t in tokenizer["added_tokens"]} | set(tokenizer["model"]["vocab"].values())
    for gap in sorted(set(range(new)) - used):
        tokenizer["added_tokens"].append({"id": gap, "content": f"<|unused-{gap}|>"} | entry)
    tokenizer["added_tokens"].sort(key=lambda token: int(token["id"]))
    _write(target / "tokenizer.json", tokenizer)

    config |= {"vocab_size": new + 1, "eos_token_id": new, "torch_dtype": dtype, "dtype": dtype}
    _write(target / "config.json", config)
    settings = _read(target / "tokenizer_config.json")
    settings["eos_token"] = NEVER
    if "added_tokens_decoder" in settings:
        settings["added_tokens_decoder"][str(new)] = entry | {"content": NEVER}
    _write(target / "tokenizer_config.json", settings)
    if (target / "generation_config.json").exists():
        generation = _read(target / "generation_config.json") | {"eos_token_id": new}
        _write(target / "generation_config.json", generation)

    weights: dict[str, Any] = {}
    for path in sorted(source.glob("*.safetensors")):
        weights.update(mx.load(str(path)))
    for name in ("model.embed_tokens", "lm_head"):
        if f"{name}.scales" in weights:
            raise SystemExit(f"{source.name} is quantised; give a model in bf16 or fp32.")
        if (table := weights.get(f"{name}.weight")) is not None:
            row = mx.zeros((new + 1 - table.shape[0], table.shape[1]), table.dtype)
            weights[f"{name}.weight"] = mx.concatenate([table, row])
    cast = {name: w.astype(getattr(mx, dtype)) for name, w in weights.items()}
    mx.save_safetensors(str(target / "model.safetensors"), cast, metadata={"format": "mlx"})


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a model's folder, or 'random'")
    parser.add_argument("target", type=Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    source = Path(options.source)
    if options.source == "random":
        source = options.target.with_name(options.target.name + "-source")
        make_random(source)
    make_endless(source, options.target, options.dtype)


if __name__ == "__main__":
    main()
