"""Prompts with images: tokens for images, by the model's template and processor."""

import hashlib
import threading
from functools import partial
from typing import Any

import msgspec
import numpy as np
from mlx_vlm.utils import process_inputs_with_fallback

from mlx_notebook.engine.errors import InvalidImage, InvalidRequest
from mlx_notebook.engine.images.image_cache import ImageCache
from mlx_notebook.engine.images.image_tokens import ImageSpan, ProcessedImage
from mlx_notebook.engine.prompts.chat_format import ChatFormat
from mlx_notebook.engine.prompts.chat_template import apply_template
from mlx_notebook.engine.prompts.length_limits import LengthLimit
from mlx_notebook.engine.prompts.message_places import MessagePlaces, counter, find_messages
from mlx_notebook.engine.prompts.prompt import PreparedPrompt, encode, prepare_prompt
from mlx_notebook.engine.prompts.tool_prompt import normalize_messages
from mlx_notebook.engine.prompts.video_processing import process_video, video_marks
from mlx_notebook.engine.sandbox import deadline
from mlx_notebook.engine.sandbox.sandbox import decode
from mlx_notebook.protocol import ChatPrompt, EncodedImage

_LAST = 2**31 - 1
_PLACEHOLDERS = ("<image>", "<start_of_image>", "<|image|>", "<|image_pad|>", "[IMG]")
_NOT_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}


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
        self._placeholder, self._in_text = self._find_placeholder()
        self._pixel = chat_format.tokenizer.decode([image_token])

    def prepare(
        self, prompt: ChatPrompt, length_limit: LengthLimit, need_end: bool
    ) -> PreparedPrompt:
        """Render and tokenize a prompt, and insert the tokens of its images."""
        messages, order = _in_order(prompt.messages)
        shown = [self.process_all(prompt.images[number], prompt.image_salt) for number in order]
        if self._in_text:
            messages = [self._with_placeholders(message) for message in messages]
        prompt = msgspec.structs.replace(prompt, messages=messages)
        written = prepare_prompt(self._chat_format, prompt, length_limit, need_end)
        first, *others = written.text.split(self._placeholder)
        tokenizer, image_token = self._chat_format.tokenizer, self._image_token
        text = short = first
        for groups, between in zip(shown, others, strict=False):
            start, end = groups[0].marks
            text, short = text.removesuffix(start), short.removesuffix(start)
            for image in groups:
                text += image.before + tokenizer.decode(image.tokens) + image.after
                short += image.before + self._pixel + image.after
            text += between.removeprefix(end)
            short += between.removeprefix(end)
        # The text around an image is tokenized together with the text of the message.
        read, offsets = encode(tokenizer, short)
        images = [image for groups in shown for image in groups]
        if len(others) != len(shown) or read.count(image_token) != len(images):
            raise InvalidRequest(
                f"the messages show {len(shown)} images, and their text holds "
                f"{self._placeholder} or {self._pixel}, this model's marks for one: leave them out "
                "of the text",
                "messages",
            )
        tokens: list[int] = []
        keys: list[int] = []
        image_spans: list[ImageSpan] = []
        expanded = [0]
        remaining = iter(images)
        for token in read:
            if token != image_token:
                tokens.append(token)
                keys.append(token)
            else:
                image = next(remaining)
                image_spans.append(ImageSpan(len(tokens), image))
                tokens += image.tokens
                keys += image.keys
            expanded.append(len(tokens))
        places = MessagePlaces()
        if offsets is not None:
            places = find_messages(short, messages, counter(offsets)).shifted(expanded.__getitem__)
        # There is no image behind the last border.
        after = [len(written.tokens) - border for border in written.borders[-1:]]
        borders = sorted({*places.borders, *(len(tokens) - count for count in after)})
        return PreparedPrompt(tokens, text, borders, places, keys, image_spans)

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
                group.tokens,
                self._keys(group.inputs, group.tokens),
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
            before, tokens, after = self._split(ids)
        except Exception as error:  # processors raise exceptions of any kind for unusual shapes
            raise InvalidImage(
                f"The image at {encoded.where} cannot be shown to this model: {error}.",
                encoded.where,
            ) from error
        inputs = {
            name: value if isinstance(value, list) else np.array(value)
            for name, value in given.items()
            if name not in _NOT_INPUTS and value is not None
        }
        if "images" in inputs:
            inputs["pixel_values"] = inputs.pop("images")
        grid: Any = inputs.get("image_grid_thw")
        return ProcessedImage(tokens, self._keys(inputs, tokens), before, after, inputs, grid)

    def _inputs(self, image: Any) -> Any:
        """Return the processor's output for an image, by mlx-vlm's function if that works."""
        try:
            return process_inputs_with_fallback(
                self._processor,
                images=[image],
                audio=None,
                prompts=[self._placeholder],
                add_special_tokens=False,
            )
        except ValueError:
            # The function asks for padding, which LLaVA's processors do not support.
            return self._processor(images=[image], text=[self._placeholder], return_tensors="mlx")

    def _split(self, tokens: list[int]) -> tuple[str, list[int], str]:
        """Return the text before an image, its tokens from first to last, and the text after it.

        Tokens that begin and end a whole prompt are left out.
        """
        tokenizer = self._chat_format.tokenizer
        if tokens and tokens[0] == tokenizer.bos_token_id:
            tokens = tokens[1:]
        if tokens and tokens[-1] == tokenizer.eos_token_id:
            tokens = tokens[:-1]
        pixels = [i for i, token in enumerate(tokens) if token == self._image_token]
        if not pixels:
            raise ValueError("its processor makes no pixels of it")
        first, end = pixels[0], pixels[-1] + 1
        before, after = tokenizer.decode(tokens[:first]), tokenizer.decode(tokens[end:])
        return before, tokens[first:end], after

    def _keys(self, inputs: dict[str, Any], tokens: list[int]) -> list[int]:
        """Return the tokens with image tokens replaced by numbers made from the image's content."""
        content = hashlib.sha256()
        for name in sorted(inputs):
            value = inputs[name]
            content.update(f"{name} {getattr(value, 'shape', '')} ".encode())
            array = isinstance(value, np.ndarray)
            content.update(value.tobytes() if array else repr(value).encode())
        stream = hashlib.shake_256(content.digest()).digest(4 * len(tokens))
        numbers = np.frombuffer(stream, "<u4")
        span = _LAST - self._base
        return [
            self._base + int(number) % span if token == self._image_token else token
            for token, number in zip(tokens, numbers, strict=True)
        ]

    def _find_placeholder(self) -> tuple[str, bool]:
        """Return the template's placeholder of an image, and whether messages must contain it."""
        tokenizer = self._chat_format.tokenizer
        named = [getattr(self._processor, name, None) for name in ("image_token", "boi_token")]
        candidates = [*filter(None, map(str, filter(None, named)))]
        candidates += [tokenizer.decode([self._image_token]), *_PLACEHOLDERS]
        single = [
            mark
            for mark in dict.fromkeys(candidates)
            if len(tokenizer.encode(mark, add_special_tokens=False)) == 1
        ]
        parts = [{"type": "image"}, {"type": "text", "text": "?"}]
        try:
            text = apply_template(tokenizer, [{"role": "user", "content": parts}], [], {}, True)
        except InvalidRequest:
            text = ""
        for mark in single:
            if text.count(mark) == 1:
                return mark, False
        for mark in single:
            message = {"role": "user", "content": f"{mark}?"}
            if apply_template(tokenizer, [message], [], {}, True).count(mark) == 1:
                return mark, True
        raise InvalidRequest("the model's chat template has no place for images", "messages")

    def _with_placeholders(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message whose images are placeholders in its text."""
        content = message.get("content")
        if not isinstance(content, list):
            return message
        parts = [self._placeholder if part["type"] == "image" else part["text"] for part in content]
        return {**message, "content": "".join(parts)}


def _in_order(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
    """Return messages in the order of rendering, with tool results in the order of their calls.

    Also return the numbers of the images in that order.
    """
    numbered, count = [], 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            parts = []
            for part in content:
                if part.get("type") == "image":
                    part, count = {**part, "number": count}, count + 1
                parts.append(part)
            message = {**message, "content": parts}
        numbered.append(message)
    try:
        numbered = normalize_messages(numbered)
    except ValueError as error:
        raise InvalidRequest(str(error), "messages") from error
    contents = [message.get("content") for message in numbered]
    return numbered, [
        part["number"]
        for content in contents
        if isinstance(content, list)
        for part in content
        if part.get("type") == "image"
    ]
