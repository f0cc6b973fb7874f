"""Tiny random models of sound, and files of sound."""

import io
import json
import math
import wave
from pathlib import Path

# The text that `whisper` writes for each window, with its times.
WORDS = ("<|0.00|>", "Hello", " world", ".", "<|1.00|>", "<|1.00|>", " Good", "bye", "<|2.00|>")
WIDTH = 32
MULTILINGUAL = 51865


def tone(seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    """A WAV file with a tone of 440 Hz."""
    second = [
        int(8000 * math.sin(440 * math.tau * i / rate)).to_bytes(2, "little", signed=True)
        for i in range(rate)
    ]
    frames = (second * math.ceil(seconds))[: int(seconds * rate)]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(b"".join(frame * channels for frame in frames))
    return file.getvalue()


def whisper(folder: Path, *, multilingual: bool = True, seed: int = 0) -> Path:
    """Write a Whisper model of two layers (and one that hears) in the layout of Hugging Face.

    Its weights are random, but for positions that name the next token. So it writes `WORDS` for
    each window, whatever it hears, until a prompt moves them.
    """
    import mlx.core as mx
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    size = MULTILINGUAL if multilingual else MULTILINGUAL - 1
    ids = _tokenizer(folder, size)
    config = {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "d_model": WIDTH,
        "encoder_attention_heads": 1,
        "encoder_layers": 1,
        "vocab_size": size,
        "max_target_positions": 448,
        "decoder_attention_heads": 4,
        "decoder_layers": 2,
        "eos_token_id": ids["<|endoftext|>"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        tensors[f"model.{name}"] = random.normal(0, 0.02, shape).astype(np.float32)

    def layer(name: str, *attentions: str) -> None:
        for attention in attentions:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                add(f"{name}.{attention}.{part}.weight", WIDTH, WIDTH)
                if part != "k_proj":
                    add(f"{name}.{attention}.{part}.bias", WIDTH)
            norm(f"{name}.{attention}_layer_norm")
        add(f"{name}.fc1.weight", 4 * WIDTH, WIDTH)
        add(f"{name}.fc1.bias", 4 * WIDTH)
        add(f"{name}.fc2.weight", WIDTH, 4 * WIDTH)
        add(f"{name}.fc2.bias", WIDTH)
        norm(f"{name}.final_layer_norm")

    def norm(name: str) -> None:
        tensors[f"model.{name}.weight"] = np.ones(WIDTH, np.float32)
        tensors[f"model.{name}.bias"] = np.zeros(WIDTH, np.float32)

    add("encoder.conv1.weight", WIDTH, 80, 3)
    add("encoder.conv1.bias", WIDTH)
    add("encoder.conv2.weight", WIDTH, WIDTH, 3)
    add("encoder.conv2.bias", WIDTH)
    layer("encoder.layers.0", "self_attn")
    for number in range(2):
        layer(f"decoder.layers.{number}", "self_attn", "encoder_attn")
    norm("encoder.layer_norm")
    norm("decoder.layer_norm")
    words = random.normal(0, 1, (size, WIDTH)).astype(np.float32)
    tensors["model.decoder.embed_tokens.weight"] = words
    positions = np.zeros((448, WIDTH), np.float32)
    start = 3 if multilingual else 1
    script = [*(ids[word.replace(" ", "Ġ")] for word in WORDS), ids["<|endoftext|>"]]
    for place in range(448):
        token = script[(place - start + 1) % len(script)]
        positions[place] = 20 * words[token]
    tensors["model.decoder.embed_positions.weight"] = positions
    arrays = {name: mx.array(array) for name, array in tensors.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "pt"})
    (folder / "generation_config.json").write_text(
        json.dumps({"alignment_heads": [[0, 0], [1, 2]]})
    )
    return folder


def _tokenizer(folder: Path, size: int) -> dict[str, int]:
    """Write a byte-level tokenizer with Whisper's marks. Return its tokens.

    It has fewer tokens than the model, whose size says whether it knows several languages.
    """
    from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    said = [word.replace(" ", "Ġ") for word in WORDS if not word.startswith("<|")]
    texts = list(dict.fromkeys([*alphabet, *said]))
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[: 99 if size == MULTILINGUAL else 98]]
    marks = [
        *("<|endoftext|>", "<|startoftranscript|>", *languages, "<|translate|>"),
        *("<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"),
        *("<|notimestamps|>", *(f"<|{step * 0.02:.2f}|>" for step in range(1501))),
    ]
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(marks)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return dict(tokenizer.get_vocab())
