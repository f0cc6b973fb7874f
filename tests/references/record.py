"""Record the scores and vectors that sentence-transformers computes.

The tests compare with them, so that they need no torch. To record them again, make the models with
this environment and run the second command in one that has sentence-transformers:

    python -m tests.references.record models FOLDER
    python tests/references/record.py scores FOLDER
    python tests/references/record.py vectors FOLDER_OF_ALL_MINILM_L6_V2
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUERY = "how much is 9 times 7?"
DOCUMENTS = [
    "9 times 7 is 63.",
    "a cat",
    "the weather is fine, and it was fine yesterday too",
    "multiply nine by seven",
]
TEXTS = [
    "The parcel came two days late.",
    "My delivery was delayed.",
    "A cat sleeps on the warm roof.",
    "Photosynthesis turns light into chemical energy. " * 60,
]
"""The last one is longer than the 256 tokens that the model reads."""


def make_models(folder: Path) -> None:
    """Write the random models."""
    from tests.tiny_models.rerankers import reference_models

    reference_models(folder)


def record_scores(folder: Path) -> None:
    """Write `scores.json`: for each model the scores of the documents, without a sigmoid."""
    import torch
    from sentence_transformers import CrossEncoder

    pairs = [(QUERY, document) for document in DOCUMENTS]
    found: dict[str, list[float]] = {}
    for path in sorted(folder.iterdir()):
        if path.name == "qwen3-reranker":
            found[path.name] = _model_card_scores(path)
        else:
            model: Any = CrossEncoder(str(path), device="cpu")
            raw = model.predict(pairs, activation_fn=torch.nn.Identity())
            found[path.name] = [float(score) for score in raw]
    _write("scores.json", found)


def _model_card_scores(path: Path) -> list[float]:
    """Score as the model card of Qwen3-Reranker says: the log odds of yes and no."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    system = (
        "Judge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".'
    )
    instruction = "Given a web search query, retrieve relevant passages that answer the query"
    scores = []
    for document in DOCUMENTS:
        prompt = (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<Instruct>: {instruction}\n"
            f"<Query>: {QUERY}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
            "<think>\n\n</think>\n\n"
        )
        tokens = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(tokens).logits[0, -1]
        yes, no = (tokenizer.convert_tokens_to_ids(answer) for answer in ("yes", "no"))
        scores.append(float(logits[yes] - logits[no]))
    return scores


def record_vectors(folder: Path) -> None:
    """Write `minilm.json`: the vectors of the texts."""
    from sentence_transformers import SentenceTransformer

    model: Any = SentenceTransformer(str(folder), device="cpu")
    vectors = model.encode(TEXTS, normalize_embeddings=True)
    _write("minilm.json", [[round(float(value), 7) for value in vector] for vector in vectors])


def recorded(name: str) -> Any:
    """Return the values of a file that this script has written."""
    return json.loads((HERE / name).read_text())


def _write(name: str, values: Any) -> None:
    (HERE / name).write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    commands = {"models": make_models, "scores": record_scores, "vectors": record_vectors}
    commands[sys.argv[1]](Path(sys.argv[2]))
