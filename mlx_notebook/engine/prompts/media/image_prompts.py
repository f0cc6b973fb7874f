"""Prompts with images and sounds: tokens for them, by the model's template and processor."""

import hashlib
import re
import threading
from functools import partial
from typing import Any

import msgspec
import numpy as np
from mlx_vlm.utils import process_inputs_with_fallback

from mlx_notebook.engine.errors import AudioNotSupported, InvalidImage, InvalidRequest
from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ImageSpan, ProcessedImage
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.media.media_tokens import (
    Placeholder,
    content_keys,
    find_placeholder,
    model_inputs,
    split_tokens,
    with_placeholders,
)
from mlx_notebook.engine.prompts.media.sound_prompts import SoundReader
from mlx_notebook.engine.prompts.media.video_processing import process_video, video_marks
from mlx_notebook.engine.prompts.message_places import MessagePlaces, counter, find_messages
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, prepare_prompt
from mlx_notebook.engine.prompts.tool_prompt import normalize_messages
from mlx_notebook.engine.sandbox import deadline
from mlx_notebook.engine.sandbox.sandbox import decode
from mlx_notebook.protocol import ChatPrompt, EncodedImage

_PLACEHOLDERS = ("<image>", "<start_of_image>", "<|image|>", "<|image_pad|>", "[IMG]")


class ImagePromptBuilder:
    """Builds the prompts of a vision model. Used on worker threads.

    Parameters
    ----------
    chat_format, processor
        The model's chat format, and mlx-vlm's processor.
    image_token
        The model's image token.
    base
        The first number that is no token. Keys of image tokens are numbers from here on.
    cache
        The cache of processed images.

    Raises
    ------
    InvalidRequest
        If the model's chat template does not support images.
    """

    def __init__(
        self,
        chat_format: ChatFormat,
        processor: Any,
        image_token: int,
        base: int,
        cache: ImageCache,
    ):
        self._chat_format, self._processor, self._cache = chat_format, processor, cache
        self._image_token, self._base = image_token, base
        self._lock = threading.Lock()
        named = [getattr(processor, name, None) for name in ("image_token", "boi_token")]
        self._placeholder = find_placeholder(
            chat_format.tokenizer, "image", image_token, named, _PLACEHOLDERS
        )
        self._sounds: SoundReader | None = None

    def enable_sounds(self, audio_token: int) -> "SoundReader":
        """Let prompts contain sounds, and return their reader.

        Raises
        ------
        InvalidRequest
            If the model's chat template or its processor does not support sounds.
        """
        self._sounds = SoundReader(
            self._chat_format.tokenizer,
            self._processor,
            audio_token,
            self._base,
            self._cache,
            self._lock,
        )
        return self._sounds

    def disable_sounds(self) -> None:
        """Let prompts contain no sounds."""
        self._sounds = None

    def prepare(
        self, prompt: ChatPrompt, length_limit: LengthLimit, need_end: bool, salt: str | None
    ) -> PreparedPrompt:
        """Render and tokenize a prompt, and insert the tokens of its images."""
        messages, order = _in_order(prompt.messages)
        shown = [self._shown(prompt, kind, number) for kind, number in order]
        placeholders = {"image": self._placeholder}
        if self._sounds is not None:
            placeholders["audio"] = self._sounds.placeholder
        messages = [with_placeholders(message, placeholders) for message in messages]
        prompt = msgspec.structs.replace(prompt, messages=messages)
        written = prepare_prompt(self._chat_format, prompt, length_limit, need_end, salt)
        marks = {place.mark: kind for kind, place in placeholders.items()}
        first, *pairs = re.split(f"({'|'.join(map(re.escape, marks))})", written.text)
        others = pairs[1::2]
        tokenizer = self._chat_format.tokenizer
        text = short = first
        for groups, between in zip(shown, others, strict=False):
            start, end = groups[0].marks
            text, short = text.removesuffix(start), short.removesuffix(start)
            for image in groups:
                text += image.before + tokenizer.decode(image.tokens) + image.after
                short += image.before + tokenizer.decode([image.token]) + image.after
            text += between.removeprefix(end)
            short += between.removeprefix(end)
        # The text around an image is tokenized together with the text of the message.
        read, ends = self._chat_format.incremental.tokenize(short, salt)
        images = [image for groups in shown for image in groups]
        special = {place.token for place in placeholders.values()}
        if [marks[mark] for mark in pairs[::2]] != [kind for kind, _ in order] or [
            token for token in read if token in special
        ] != [image.token for image in images]:
            raise InvalidRequest(self._miscounted(order, placeholders), "messages")
        tokens: list[int] = []
        keys: list[int] = []
        image_spans: list[ImageSpan] = []
        expanded = [0]
        remaining = iter(images)
        for token in read:
            if token not in special:
                tokens.append(token)
                keys.append(token)
            else:
                image = next(remaining)
                image_spans.append(ImageSpan(len(tokens), image))
                tokens += image.tokens
                keys += image.keys
            expanded.append(len(tokens))
        places = MessagePlaces()
        if ends is not None:
            places = find_messages(short, messages, counter(ends)).shifted(expanded.__getitem__)
        # There is no image behind the last border.
        after = [len(written.tokens) - border for border in written.borders[-1:]]
        borders = sorted({*places.borders, *(len(tokens) - count for count in after)})
        return PreparedPrompt(tokens, text, borders, places, keys, image_spans)

    def _shown(self, prompt: ChatPrompt, kind: str, number: int) -> list[ProcessedImage]:
        """Return an image, the groups of frames of a video, or a sound of a prompt."""
        if kind == "image":
            return self.process_all(prompt.images[number], prompt.image_salt)
        if self._sounds is None:
            raise AudioNotSupported("The model does not hear.", prompt.sounds[number].where)
        return [self._sounds.process(prompt.sounds[number], prompt.image_salt)]

    def _miscounted(
        self, order: list[tuple[str, int]], placeholders: dict[str, Placeholder]
    ) -> str:
        """Return why the marks in a prompt are not those of its images and sounds."""
        tokenizer = self._chat_format.tokenizer
        marks = [
            mark
            for place in placeholders.values()
            for mark in dict.fromkeys((place.mark, tokenizer.decode([place.token])))
        ]
        kinds = [kind for kind, _ in order]
        shown = f"{kinds.count('image')} images"
        if "audio" in kinds:
            shown += f" and {kinds.count('audio')} sounds"
        return (
            f"the messages show {shown}, and their text holds {' or '.join(marks)}, this model's "
            "marks for one: leave them out of the text"
        )

    def process(self, image: EncodedImage, salt: str = "") -> ProcessedImage:
        """Decode and preprocess an image, unless it is in the cache.

        Only prompts with the same `salt` share it, since the time tells whether it was there.
        """
        deadline.current().check()
        content = hashlib.sha256(image.detail.encode() + b"\0" + image.data).digest()
        return self._cache.get(salt.encode() + content, lambda: self._process(image))

    def process_all(self, image: EncodedImage, salt: str = "") -> list[ProcessedImage]:
        """Return an image, or the groups of frames of a video."""
        if not image.times:
            return [self.process(image, salt)]
        deadline.current().check()
        content = hashlib.sha256(repr(image.times).encode())
        for frame in (image.data, *image.frames):
            content.update(hashlib.sha256(frame).digest())
        key = f"{salt} video ".encode() + content.digest()
        made: list[ProcessedImage] = []

        def group(number: int) -> ProcessedImage:
            if not made:
                made.extend(self._process_video(image))
            return made[number]

        first = self._cache.get(key, lambda: group(0))
        others = range(1, first.count)
        return [first, *(self._cache.get(key + b"%d" % n, partial(group, n)) for n in others)]

    def _process_video(self, video: EncodedImage) -> list[ProcessedImage]:
        encoded = [EncodedImage(data=data, where=video.where) for data in video.frames]
        frames = [decode(video), *map(decode, encoded)]
        try:
            with self._lock:  # processors share a tokenizer, which is not thread-safe
                groups = process_video(
                    self._processor,
                    self._chat_format.tokenizer,
                    self._image_token,
                    frames,
                    video.times,
                )
        except Exception as error:  # processors raise exceptions of any kind for unusual shapes
            raise InvalidImage(
                f"The video at {video.where} cannot be shown to this model: {error}.", video.where
            ) from error
        marks = video_marks(self._processor)
        return [
            ProcessedImage(
                self._image_token,
                group.tokens,
                content_keys(group.inputs, group.tokens, self._image_token, self._base),
                group.before,
                group.after,
                group.inputs,
                group.inputs["image_grid_thw"],
                marks=marks,
                count=len(groups),
            )
            for group in groups
        ]

    def _process(self, encoded: EncodedImage) -> ProcessedImage:
        image = decode(encoded)
        try:
            with self._lock:  # processors share a tokenizer, which is not thread-safe
                given = self._inputs(image)
            ids = np.array(given["input_ids"]).reshape(-1).tolist()
            before, tokens, after = split_tokens(
                self._chat_format.tokenizer, ids, self._image_token
            )
        except Exception as error:  # processors raise exceptions of any kind for unusual shapes
            raise InvalidImage(
                f"The image at {encoded.where} cannot be shown to this model: {error}.",
                encoded.where,
            ) from error
        inputs = model_inputs(given)
        if "images" in inputs:
            inputs["pixel_values"] = inputs.pop("images")
        grid: Any = inputs.get("image_grid_thw")
        keys = content_keys(inputs, tokens, self._image_token, self._base)
        return ProcessedImage(self._image_token, tokens, keys, before, after, inputs, grid)

    def _inputs(self, image: Any) -> Any:
        """Return the processor's output for an image, by mlx-vlm's function if that works."""
        try:
            return process_inputs_with_fallback(
                self._processor,
                images=[image],
                audio=None,
                prompts=[self._placeholder.mark],
                add_special_tokens=False,
            )
        except ValueError:
            # The function asks for padding, which LLaVA's processors do not support.
            return self._processor(
                images=[image], text=[self._placeholder.mark], return_tensors="mlx"
            )


def _in_order(
    messages: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    """Return messages in the order of rendering, with tool results in the order of their calls.

    Also return the images and sounds in that order: the kind of each, and its number among those of
    its kind.
    """
    numbered = []
    counts = {"image": 0, "audio": 0}
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            parts = []
            for part in content:
                if (kind := part.get("type")) in counts:
                    part = {**part, "number": counts[kind]}
                    counts[kind] += 1
                parts.append(part)
            message = {**message, "content": parts}
        numbered.append(message)
    try:
        numbered = normalize_messages(numbered)
    except ValueError as error:
        raise InvalidRequest(str(error), "messages") from error
    contents = [message.get("content") for message in numbered]
    return numbered, [
        (part["type"], part["number"])
        for content in contents
        if isinstance(content, list)
        for part in content
        if part.get("type") in counts
    ]
