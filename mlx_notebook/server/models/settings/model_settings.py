"""Read, merge and save the settings of single models."""

import asyncio
import errno
import os
import tempfile
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_notebook.model_files.generation_config import fill_sampling
from mlx_notebook.model_files.model_folder import read_json
from mlx_notebook.protocol import ChatPrompt, FillPrompt, Prompt, Sampling
from mlx_notebook.server.errors import ApiError, Forbidden, InsufficientStorage, Unavailable
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.storage.file_lock import locked

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
# Defaults of requests, which each user may save. All others say how the model is loaded.
_REQUEST_DEFAULTS = (*_SAMPLING, "system", "thinking", "fill_in_the_middle")
_Name = Annotated[str, Meta(min_length=1, max_length=512)]
_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ModelSettings(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The settings of one model. The model or the server decides what is left out.

    Those from `temperature` to `fill_in_the_middle` are defaults: a request that sets the parameter
    itself wins. All others say how the model is loaded, and a change of them reloads it.

    Attributes
    ----------
    temperature
        Sampling temperature. 0 always takes the most likely token.
    top_p
        Sample only from the most likely tokens that together reach this probability.
    top_k
        Sample only from this many of the most likely tokens.
    min_p
        Sample only from tokens that are at least this share as likely as the most likely one.
    repetition_penalty
        Make tokens that have already occurred less likely (above 1) or more likely (below 1).
    max_tokens
        Most tokens of an answer.
    system
        System message for conversations that have none.
    thinking
        Whether the model reasons before it answers, if it can.
    fill_in_the_middle
        Whether the model's marks for fill-in-the-middle are used, if it has them. Set it to false
        for a general model that has them and was not trained with them: it then fills gaps through
        its chat template.
    context_limit
        Most tokens of prompt and answer together.
    tool_dialect
        Name of the format in which the model writes tool calls, where it is not recognised.
    reranker
        Rank documents with the model, by the prompt of Qwen3-Reranker, where its name and files do
        not say that it is one.
    adapter
        LoRA adapter to load with the model, always.
    adapters
        LoRA adapters that requests may choose with the name `model+adapter`.
    draft
        Smaller model of the same family, for speculative decoding.
    prompt_lookup
        Most tokens to draft from the text so far: speculative decoding without a draft model. It is
        on for text models, and pauses where it is not faster. 0 turns it off.
    kv_bits
        Bits of a quantised KV cache. It takes less memory.
    division
        How the model is divided among several ranks: `tensor` gives each a part of every layer,
        `pipeline` some of the layers. By default `tensor`, where the model can be divided so.
    revision
        Branch, tag or commit on Hugging Face.
    trust_remote_code
        Whether Python code in the model's folder may run. Only Jupyter's configuration can set it.
    """

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    max_tokens: _Count | None = None
    system: str | None = None
    thinking: bool | None = None
    fill_in_the_middle: bool | None = None
    context_limit: _Count | None = None
    tool_dialect: _Name | None = None
    reranker: bool = False
    adapter: _Name | None = None
    adapters: list[_Name] = []
    draft: _Name | None = None
    prompt_lookup: Annotated[int, Meta(ge=0, le=64)] | None = None
    kv_bits: Literal[4, 8] | None = None
    division: Literal["tensor", "pipeline"] | None = None
    revision: _Name | None = None
    trust_remote_code: bool = False

    def apply_to_sampling(self, sampling: Sampling) -> Sampling:
        """Return the sampling of a request, with these settings for what it leaves open."""
        own = {name: x for name in _SAMPLING if (x := getattr(self, name)) is not None}
        return fill_sampling(sampling, own)

    def apply_to_fill(self, prompt: FillPrompt) -> FillPrompt:
        """Return the text around a gap, to be filled as these settings say."""
        return msgspec.structs.replace(prompt, marks=self.fill_in_the_middle is not False)

    def apply_to_prompt(self, prompt: Prompt) -> Prompt:
        """Return the prompt of a request, with these settings for what it leaves open."""
        if not isinstance(prompt, ChatPrompt):
            return prompt
        if self.system is not None and all(m.get("role") != "system" for m in prompt.messages):
            system = {"role": "system", "content": self.system}
            prompt = msgspec.structs.replace(prompt, messages=[system, *prompt.messages])
        if self.thinking is not None:
            kwargs = {"enable_thinking": self.thinking, **prompt.template_kwargs}
            prompt = msgspec.structs.replace(prompt, template_kwargs=kwargs)
        return prompt

    @property
    def load_settings(self) -> "ModelSettings":
        """Only the settings that say how the model is loaded."""
        return msgspec.structs.replace(self, **dict.fromkeys(_REQUEST_DEFAULTS))

    @property
    def request_defaults(self) -> "ModelSettings":
        """Only the settings that are defaults of requests."""
        return ModelSettings(**{name: getattr(self, name) for name in _REQUEST_DEFAULTS})

    def as_dict(self) -> dict[str, Any]:
        """Return the settings that are set, as they are in JSON."""
        settings: dict[str, Any] = msgspec.to_builtins(self)
        return settings


NO_SETTINGS = ModelSettings()


def check_settings(settings: Any) -> ModelSettings:
    """Check settings that were given as a dictionary, and return them.

    Raises
    ------
    ValueError
        If they are invalid. The message says why.
    """
    known = ModelSettings.__struct_fields__
    if isinstance(settings, Mapping):
        settings = dict(settings)
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"there is no setting {unknown[0]!r}, only {', '.join(known)}")
    try:
        return msgspec.convert(settings, ModelSettings)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)[0].lower() + str(error)[1:]) from None


class ModelSettingsStore:
    """Hold the settings of all models: those of Jupyter's configuration, and saved ones over them.

    Several servers may share the file. Each changes the settings of one model at a time, and reads
    what the others have saved when it scans the models again.

    Parameters
    ----------
    configured
        Settings of Jupyter's configuration, by the models' own names.
    file
        File for settings that are saved through the API, readable by its user only; None keeps
        them in memory.
    log
        Logger for a file that cannot be used.
    """

    def __init__(
        self, configured: Mapping[str, ModelSettings], file: Path | None, log: Logger
    ) -> None:
        self._configured = dict(configured)
        self._file = file
        self._log = log
        self._saved: dict[str, ModelSettings] = {}
        self._file_state: object = None
        self._writing = asyncio.Lock()

    def of(self, model: str, user: str = OWNER) -> ModelSettings:
        """Return the settings of a model that are in force for a user.

        Saved settings override configured ones. How a model is loaded is the same for all users:
        as an admin of the server saved it.
        """
        return _over(self._configured.get(model, NO_SETTINGS), self.saved(model, user))

    def saved(self, model: str, user: str = OWNER, *, admin: bool = True) -> ModelSettings:
        """Return the settings that a user has saved for a model: only defaults, unless an admin."""
        if self._file_state is None:
            self.refresh()
        own = self._saved.get(_key(model, user), NO_SETTINGS).request_defaults
        shared = self._saved.get(model, NO_SETTINGS)
        return _over(shared.load_settings, own) if admin else own

    async def save(
        self, model: str, settings: ModelSettings, user: str = OWNER, *, admin: bool = True
    ) -> None:
        """Save a user's settings of a model, in place of those saved before.

        An admin's settings about loading hold for all users. Any others are the user's own.

        Raises
        ------
        Forbidden
            If they say how the model is loaded, and the user is not an admin.
        InsufficientStorage
            If the disk is full.
        Unavailable
            If the file cannot be written, or another server holds its lock.
        """
        if not admin and (wrong := settings.load_settings.as_dict()):
            raise Forbidden(
                f"{next(iter(wrong))!r} says how the model is loaded, which is the same for all "
                "users of this server: only an admin may set it.",
                param=next(iter(wrong)),
                code="setting_not_allowed",
            )
        async with self._writing:
            try:
                await asyncio.to_thread(self._save, model, settings, user, admin)
            except OSError as error:
                raise not_saved(error) from error

    def refresh(self) -> None:
        """Read the file again if it has changed. This blocks: call it in a thread."""
        state = self._current_file_state()
        if state != self._file_state:
            self._saved, self._file_state = self._read(), state

    def _save(self, model: str, settings: ModelSettings, user: str, admin: bool) -> None:
        if self._file is None:
            self._saved = self._changed(model, settings, user, admin)
            return
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._file.with_suffix(".lock")):
            self.refresh()
            saved = self._changed(model, settings, user, admin)
            write_privately(self._file, msgspec.json.encode(saved))
            self._saved, self._file_state = saved, self._current_file_state()

    def _changed(
        self, model: str, settings: ModelSettings, user: str, admin: bool
    ) -> dict[str, ModelSettings]:
        """Return all saved settings with those of a user and a model replaced."""
        shared = self._saved.get(model, NO_SETTINGS)
        loads = settings.load_settings if admin else shared.load_settings
        own = settings.request_defaults
        if user == OWNER:
            return _with(self._saved, model, _over(loads, own))
        with_loads = _with(self._saved, model, _over(loads, shared.request_defaults))
        return _with(with_loads, _key(model, user), own)

    def _current_file_state(self) -> object:
        """Return a value that changes when the file does."""
        try:
            status = os.stat(self._file) if self._file is not None else None
        except OSError:
            status = None
        return (status.st_ino, status.st_mtime_ns, status.st_size) if status else "no file"

    def _read(self) -> dict[str, ModelSettings]:
        if self._file is None:
            return self._saved
        try:
            return dict(read_json(self._file, type=dict[str, ModelSettings]))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._log.warning("The model settings in %s cannot be used: %s", self._file, error)
            return {}


def _key(model: str, user: str) -> str:
    """Return the key of a user's settings of a model. No name contains a line break."""
    return model if user == OWNER else f"{model}\n{user}"


def _over(below: ModelSettings, above: ModelSettings) -> ModelSettings:
    """Return `below`, overridden by the settings that are set in `above`."""
    if NO_SETTINGS in (below, above):
        return below if above == NO_SETTINGS else above
    changed = {name: getattr(above, name) for name in above.as_dict()}
    return msgspec.structs.replace(below, **changed)


def _with(
    saved: Mapping[str, ModelSettings], key: str, settings: ModelSettings
) -> dict[str, ModelSettings]:
    """Return the saved settings with those of one key replaced."""
    kept = {**saved, key: settings}
    if settings == NO_SETTINGS:
        del kept[key]
    return kept


def not_saved(error: OSError) -> ApiError:
    """Return the API error for settings that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InsufficientStorage(
            "The settings are not saved: the disk with Jupyter's data directory is full. Free some "
            "space and send them again."
        )
    return Unavailable(
        f"The settings are not saved: {error.strerror or error}. The server needs the right "
        "to write in Jupyter's data directory.",
        code="settings_not_writable",
    )


def write_privately(file: Path, content: bytes) -> None:
    """Write a file that only its user may read, completely or not at all."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
