"""Look up models by name: the catalog of all models on this machine.

A name is looked up among the folders that a scan has found. It is never joined to a path.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from logging import Logger
from pathlib import Path

import msgspec

from mlx_notebook.model_files import model_facts
from mlx_notebook.model_files.footprint import WeightBytes
from mlx_notebook.model_files.gguf.gguf_facts import read_facts
from mlx_notebook.model_files.model_facts import ModelFacts
from mlx_notebook.model_files.safetensors_headers import read_arrays
from mlx_notebook.protocol import ModelOptions
from mlx_notebook.server.errors import NotFound
from mlx_notebook.server.identity import OWNER
from mlx_notebook.server.model_errors import model_not_found
from mlx_notebook.server.models import suggestions
from mlx_notebook.server.models.catalog_entry import CatalogEntry
from mlx_notebook.server.models.model_folders import ModelLocation, find_adapters, find_locations
from mlx_notebook.server.models.settings.model_settings import ModelSettings, ModelSettingsStore
from mlx_notebook.server.models.upstream_entries import UpstreamEntries
from mlx_notebook.server.models.usability import refusal_of
from mlx_notebook.server.wire.native.model_types import ModelSource

EMBEDDED_DEFAULT = "tiny-chat"
_FRESH_SECONDS = 5.0
# Names that Hugging Face allows: https://huggingface.co/docs/hub/repositories-settings
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


class Catalog:
    """Look up models by name, and list them.

    Parameters
    ----------
    folders
        Folders that contain models, as `name/` or `organisation/name/`, or as GGUF files.
    programs
        Other programs whose models are listed too, of `other_programs.PROGRAMS`.
    aliases
        Other names for models. They override the built-in ones.
    default
        Name of the model for requests that name none; "" for none.
    trusted
        Names of models whose own Python code may run.
    settings
        Settings of single models.
    unknown
        What an unknown name means: "error", or "loaded" for the model that the user has used last.
    last_used
        Return the name of the model that a user has used last, if any.
    upstreams
        Other servers, whose models are listed too.
    log
        Logger for models that cannot be used.
    """

    def __init__(
        self,
        *,
        folders: Sequence[str] = (),
        programs: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
        default: str = "",
        trusted: Sequence[str] = (),
        settings: ModelSettingsStore | None = None,
        unknown: str = "error",
        last_used: Callable[[str], str | None] = lambda user: None,
        upstreams: UpstreamEntries | None = None,
        log: Logger,
    ) -> None:
        self.folders = folders
        self._programs = tuple(programs)
        self._aliases = {**suggestions.aliases(), **(aliases or {})}
        self.configured_default = default
        self._trusted = frozenset(trusted)
        self._settings = settings or ModelSettingsStore({}, None, log)
        self._unknown = unknown
        self._log = log
        self._upstreams = upstreams or UpstreamEntries(None, self._settings)
        self._entries: dict[str, CatalogEntry] = {}
        self._scanned = float("-inf")
        self._last_used = last_used
        self._warned: set[tuple[Path, str]] = set()
        self._facts_read: dict[Path, tuple[object, ModelFacts | None]] = {}
        self._adapters: dict[Path, tuple[object, WeightBytes]] = {}

    @property
    def folders(self) -> Sequence[str]:
        """Folders that contain models."""
        return [str(path) for path in self._paths]

    @folders.setter
    def folders(self, folders: Sequence[str]) -> None:
        self._paths = [Path(folder).expanduser().absolute() for folder in folders]
        self._scanned = float("-inf")

    # --- look-up ----------------------------------------------------------------------------------

    async def find(
        self, name: str | None, user: str = OWNER, *, use: str | None = None
    ) -> CatalogEntry:
        """Return the model with a name or alias; None for the default model of a user.

        Parameters
        ----------
        name, user
            The name in the request, and whose default counts.
        use
            What the model is for (see `CatalogEntry.serves`). The error for an unknown name lists
            models for this. None: all.

        Raises
        ------
        NotFound
            If there is none, or only a part of it. The message says how to get it.
        Unavailable
            If its files are damaged.
        UpstreamError
            If its upstream cannot tell whether there is one.
        """
        if self._scanned == float("-inf"):
            await self._scan()
        wanted = self.canonical(name) if name else await self.default(user)
        if self._upstreams.has(wanted):
            return await self._upstreams.find(wanted)
        entry = self._entries.get(wanted)
        if entry is None or self._may_have_changed(entry):
            await self._scan()
            entry = self._entries.get(wanted)
        if entry is None and self._unknown == "loaded":
            entry = self._entries.get(self._last_used(user) or "")
        if entry is None and (base := self._entries.get(wanted.rpartition("+")[0])) is not None:
            raise self._no_adapter(base, wanted.rpartition("+")[2])
        if entry is None:
            raise self._not_found(wanted, use)
        if (refusal := refusal_of(entry)) is not None:
            raise refusal
        return entry

    def _not_found(self, name: str, use: str | None) -> NotFound:
        if is_repository(name):
            hint = f"If it is on Hugging Face, `%mlx load {name}` downloads it."
        else:
            hint = "`%mlx load ORG/NAME` downloads one from Hugging Face."
        return model_not_found(name, self.names_for(use), use=use, hint=hint)

    def canonical(self, name: str) -> str:
        """Return the name that an alias stands for. Return any other name unchanged."""
        if name in self._entries:
            return name
        base, plus, adapter = name.rpartition("+")
        if plus and base in self._aliases:
            return f"{self._aliases[base]}+{adapter}"
        return self._aliases.get(name, name)

    def source_of(self, name: str) -> ModelSource | None:
        """Return the kind of location of a model, as of the last scan; None if unknown."""
        if self._upstreams.has(name):
            return "upstream"
        entry = self._entries.get(name)
        return entry.source if entry is not None else None

    def aliases_of(self, name: str) -> list[str]:
        """Return the aliases of a model."""
        return sorted(alias for alias, meant in self._aliases.items() if meant == name)

    @property
    def names(self) -> list[str]:
        """Names and aliases of all usable models."""
        return self.names_for(None)

    def names_for(self, use: str | None) -> list[str]:
        """Return names and aliases of the usable models for a use; None for all."""
        usable = {
            name
            for name, entry in self._entries.items()
            if refusal_of(entry) is None and (use is None or entry.serves(use))
        }
        return sorted(usable | {alias for alias, name in self._aliases.items() if name in usable})

    def settings_of(self, name: str, user: str = OWNER) -> ModelSettings:
        """Return the settings of a model that are in force for a user."""
        return self._settings.of(name, user)

    # --- lists ------------------------------------------------------------------------------------

    async def entries(self, user: str = OWNER) -> list[CatalogEntry]:
        """Return all usable models: a user's default one first, those of upstreams last."""
        return [entry for entry in await self.all_entries(user) if refusal_of(entry) is None]

    async def all_entries(self, user: str = OWNER) -> list[CatalogEntry]:
        """Return all models here and at upstreams, including unusable ones (see `problem`)."""
        if time.monotonic() - self._scanned > _FRESH_SECONDS:
            await self._scan()
        await self._upstreams.refresh()
        default = await self.default(user)
        entries = [*self._entries.values(), *self._upstreams.entries.values()]
        return sorted(
            entries,
            key=lambda entry: (entry.name != default, entry.upstream is not None, entry.name),
        )

    async def default(self, user: str = OWNER) -> str:
        """Return the name of a user's default model: configured, last used, embedded, or any.

        A configured model is returned even if it is not on this machine. A request for it then
        fails with an error that says so.
        """
        if self._scanned == float("-inf"):
            await self._scan()
        return self.default_now(user)

    def default_now(self, user: str = OWNER) -> str:
        """Return the name of a user's default model, as of the last scan.

        One of an upstream must be configured.
        """
        if self.configured_default:
            return self.canonical(self.configured_default)
        usable = self.names
        writers = (name for name in usable if self.generates_text(name))
        candidates = (self._last_used(user), EMBEDDED_DEFAULT, *writers)
        return next((name for name in candidates if name in usable), EMBEDDED_DEFAULT)

    def mark_outdated(self) -> None:
        """Scan the disk again at the next look-up, since it has changed."""
        self._scanned = float("-inf")

    async def refresh(self) -> None:
        """Scan the disk now, since it has changed."""
        await self._scan()

    def generates_text(self, name: str) -> bool:
        """Whether a model generates text, as of the last scan. An unknown model counts as such."""
        known = self.canonical(name)
        entry = self._entries.get(known) or self._upstreams.entries.get(known)
        return entry is None or entry.generates_text

    def fault(self, name: str) -> str | None:
        """Return what is wrong with the settings of a model, as of the last scan."""
        entry = self._entries.get(name) or self._upstreams.entries.get(name)
        return entry.fault if entry is not None else None

    def problem(self, entry: CatalogEntry) -> str | None:
        """Return why a model is unusable, as one sentence; None if it is usable."""
        refusal = refusal_of(entry)
        return refusal.message if refusal is not None else None

    # --- scan -------------------------------------------------------------------------------------

    @staticmethod
    def _may_have_changed(entry: CatalogEntry) -> bool:
        """Whether a new scan may find the model in another state."""
        facts, path = entry.facts, entry.path
        there = os.path.isfile(path) or os.path.exists(path / "config.json")
        return bool(facts.missing or facts.error) or not there

    async def _scan(self) -> None:
        # Folders may be on a network, so scan in a thread. Use asyncio's: those of anyio keep a
        # server alive that is stopped during its first request.
        self._entries = await asyncio.to_thread(self._found)
        self._scanned = time.monotonic()

    def _found(self) -> dict[str, CatalogEntry]:
        self._settings.refresh()
        bare: dict[str, CatalogEntry] = {}
        for location in find_locations(
            self._paths, lambda name: self._settings.of(name).revision, self._programs
        ):
            if location.name not in bare and (entry := self._entry(location)) is not None:
                bare[location.name] = entry
        available = find_adapters(self._paths)
        entries: dict[str, CatalogEntry] = {}
        for entry in bare.values():
            entries[entry.name] = self._with_options(entry, bare, available, entry.settings.adapter)
            for adapter, (_, base) in available.items():
                if base == entry.name or adapter in entry.settings.adapters:
                    variant = msgspec.structs.replace(entry, name=f"{entry.name}+{adapter}")
                    entries[variant.name] = self._with_options(variant, bare, available, adapter)
        return entries

    def _with_options(
        self,
        entry: CatalogEntry,
        models: Mapping[str, CatalogEntry],
        available: Mapping[str, tuple[Path, str | None]],
        adapter: str | None,
    ) -> CatalogEntry:
        """Return a model with the load options that its settings ask for."""
        settings = entry.settings
        wanted = settings.draft or ""
        draft = models.get(self._aliases.get(wanted, wanted))
        folder = available[adapter][0] if adapter and adapter in available else None
        weights, fault = None, None
        if adapter and folder is None:
            fault = f"no configured folder has an adapter {adapter!r}"
        elif folder is not None:
            try:
                weights = self._adapter_weights(folder)
            except (OSError, ValueError) as error:
                fault = f"its adapter {adapter!r} is not usable: {error}"
        if settings.draft and draft is None:
            fault = (
                f"its draft model {settings.draft!r} is not on this machine (a model's folder has "
                "a config.json and weights)"
            )
        elif draft is not None and (refusal := refusal_of(draft)) is not None:
            fault = f"its draft model is not usable. {refusal.message.removesuffix('.')}"
        text_only = {
            "adapter": adapter,
            "draft": settings.draft,
            "kv_bits": settings.kv_bits,
            "prompt_lookup": settings.prompt_lookup,
            "reranker": settings.reranker,
        }
        if entry.takes_images and (
            wrong := next((name for name, v in text_only.items() if v), None)
        ):
            fault = f"it is a vision model, and {wrong} is for text models"
        options = ModelOptions(
            adapter=str(folder) if folder is not None else None,
            draft=str(draft.path) if draft is not None else None,
            prompt_lookup=settings.prompt_lookup,
            context_limit=settings.context_limit,
            kv_bits=settings.kv_bits,
            division=settings.division,
            reranker=settings.reranker,
            tool_dialect=settings.tool_dialect,
            trust_remote_code=settings.trust_remote_code
            or entry.name.partition("+")[0] in self._trusted,
        )
        return msgspec.structs.replace(
            entry,
            options=options,
            adapter=weights,
            draft=draft.facts if draft is not None else None,
            fault=fault,
        )

    def _adapter_weights(self, folder: Path) -> WeightBytes:
        """Return the weights of an adapter, read again if they have changed.

        Raises
        ------
        ValueError
            If its file is incomplete or empty.
        OSError
            If its file cannot be read.
        """
        mark = model_facts.stamp(folder)
        known = self._adapters.get(folder)
        if known is None or known[0] != mark:
            weights = WeightBytes.of(read_arrays([folder / "adapters.safetensors"]))
            known = self._adapters[folder] = mark, weights
        if not known[1].total:
            raise ValueError("adapters.safetensors is empty")
        return known[1]

    def _no_adapter(self, base: CatalogEntry, adapter: str) -> NotFound:
        names = sorted(
            name.rpartition("+")[2] for name in self._entries if name.startswith(f"{base.name}+")
        )
        return NotFound(
            f"The model {base.name!r} has no adapter {adapter[:200]!r}. "
            f"{'It has ' + ', '.join(names) if names else 'It has none'}. An adapter is a folder "
            "below MlxNotebookApp.models_dirs that was trained on this model, or that is listed in "
            "its settings ('adapters').",
            param="model",
            code="adapter_not_found",
        )

    def _entry(self, location: ModelLocation) -> CatalogEntry | None:
        """Return the model at a location, None if there is none."""
        facts = model_facts.unusable(location.fault) if location.fault else self._facts(location)
        if facts is None:
            return None
        if facts.error and (location.path, facts.error) not in self._warned:
            self._warned.add((location.path, facts.error))
            self._log.warning("The model %r cannot be used: %s.", location.name, facts.error)
        settings = self._settings.of(location.name)
        return CatalogEntry(location.name, location.path, location.source, facts, settings=settings)

    def _facts(self, location: ModelLocation) -> ModelFacts | None:
        try:
            mark = model_facts.stamp(location.path), location.expected
            known = self._facts_read.get(location.path)
            if known is None or known[0] != mark:
                if os.path.isfile(location.path):
                    facts: ModelFacts | None = read_facts(location.path, self._log)
                else:
                    facts = model_facts.read(
                        location.path, location.name, self._log, expected=location.expected
                    )
                known = self._facts_read[location.path] = mark, facts
        except OSError as error:
            return model_facts.unusable(model_facts.sentence(error))
        return known[1]


def is_repository(name: str) -> bool:
    """Whether a name can be that of a repository on Hugging Face."""
    return bool(_REPOSITORY.fullmatch(name)) and ".." not in name and "--" not in name
