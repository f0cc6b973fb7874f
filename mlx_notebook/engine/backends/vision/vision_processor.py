"""The processor of a model that takes images: it makes of texts and images what the model takes."""

from pathlib import Path
from typing import Any

from mlx_lm.utils import load_config
from mlx_vlm.utils import get_model_and_args, load_image_processor, load_processor

from mlx_notebook.engine.prompts.tokenizer_file import check_growth


def open_processor(path: Path, trust_remote_code: bool) -> Any:
    """Load the model's processor with mlx-vlm, which does not need torch."""
    check_growth(path)
    get_model_and_args(load_config(path))  # importing it registers its processor
    processor = load_processor(
        path, False, trust_remote_code=trust_remote_code, local_files_only=True
    )
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token is None:  # processors pad even a single prompt
        tokenizer.pad_token = tokenizer.eos_token
    own = load_image_processor(path)
    if own is not None:
        processor.image_processor = own
    return processor
