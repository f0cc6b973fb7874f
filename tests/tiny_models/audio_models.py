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


def soprano(folder: Path, *, seed: int = 0) -> Path:
    """Write a Soprano model of two layers with random weights.

    One token in five ends a sentence. The library takes the sizes of its decoder from config.json
    if the folder's name contains "soprano-1.1".
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_audio.tts.models.soprano.soprano import DecoderConfig, Model, ModelConfig
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    assert "soprano-1.1" in str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["[STOP]", "[TEXT]", "[START]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"pad_token": "[STOP]", "eos_token": "[STOP]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **marks}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    size = tokenizer.get_vocab_size()
    decoder = {"decoder_num_layers": 1, "decoder_dim": 32, "decoder_intermediate_dim": 64}
    config = {
        "model_type": "soprano",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "vocab_size": size,
        "max_position_embeddings": 1024,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
        "decoder_config": decoder,
    }
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(seed)
    given = {**config, "decoder_config": DecoderConfig.from_dict(decoder)}
    model = Model(ModelConfig.from_dict({**given, "model_path": str(folder)}))
    stop = tokenizer.token_to_id("[STOP]")
    # All words point one way, which survives the layers: so the logit of the end is the same.
    model.language_model.embed_tokens.weight = mx.ones((size, 32)) + mx.random.normal(
        (size, 32), scale=0.01
    )
    head = mx.zeros((size, 32))
    head[stop] = 0.3 * math.log(size / 5) / 32
    model.language_model.lm_head.weight = head
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    return folder
