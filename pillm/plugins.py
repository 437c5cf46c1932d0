"""Find plugins, and build the installed backend of a name."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import pluggy

from pillm import hookspecs
from pillm.backends import Backend, Exporter, Filter, Metric, Runner, Teacher, Trainer
from pillm.errors import ConfigError, MissingDependency, PluginError, UnknownBackend, did_you_mean
from pillm.hubs import Publisher
from pillm.kinds import KINDS
from pillm.options import configure

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "pillm"
SLOW_SECONDS = 0.5
FIRST_PARTY: dict[str, dict[str, tuple[str, ...]]] = {
    "pillm-hf": {"teacher": ("hf",), "runner": ("hf",), "trainer": ("lora", "dora", "qlora", "full")},
    "pillm-openai": {"teacher": ("openai",)},
    "pillm-llamacpp": {"teacher": ("gguf",), "exporter": ("gguf",), "runner": ("local", "pi4", "pi4-emulated", "vulkan")},
    "pillm-easydistill": {"teacher": ("easydistill",), "trainer": ("easydistill",)},
    "pillm-trl": {"trainer": ("dpo",)},
    "pillm-hub": {"source": ("hub",), "publisher": ("hub",)},
    "pillm-nano": {"model": ("nano-teacher", "nano-base")},
}
"""What pillm's own plugins provide, so that a name whose plugin is not installed is answered with how to get it."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginStatus:
    """One plugin as it was found: where from, how long its import took, what it answers, and what is wrong with it."""

    name: str
    distribution: str
    version: str
    seconds: float = 0.0
    hooks: tuple[str, ...] = ()
    error: str | None = None
    warning: str | None = None


class Registry:
    """The plugins of this process and what they provide."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("pillm")
        self.manager.add_hookspecs(hookspecs)
        self.statuses: list[PluginStatus] = []
        self._answers: dict[str, list[tuple[PluginStatus, Any]]] = {}

    def load(self) -> None:
        """Load the built-in metrics and every plugin of the entry-point group; a broken one is named and skipped."""
        from importlib.metadata import entry_points

        from pillm import metrics

        self.register(metrics, "pillm", distribution="pillm", version=Backend.version())
        wanted = os.environ.get("PILLM_PLUGINS")
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            if wanted is None or point.name in wanted.replace(",", " ").split():
                self._load(point)

    def _load(self, point: EntryPoint) -> None:
        dist = point.dist
        distribution, version = (dist.name, dist.version) if dist else (point.value, "?")
        began = time.perf_counter()
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may call sys.exit on import, and must not stop pillm
            self._broken(self._free(point.name, distribution), distribution, version, f"{type(error).__name__}: {error}")
            return
        self.register(plugin, point.name, distribution=distribution, version=version, seconds=time.perf_counter() - began)

    def register(self, plugin: object, name: str, *, distribution: str, version: str = "?", seconds: float = 0.0) -> None:
        """Register one plugin object; a misspelt hook or a wrong argument makes it a broken one."""
        name = self._free(name, distribution)
        self._answers.clear()
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self.manager.has_plugin(name) and self.manager.get_plugin(name) is plugin:
                self.manager.unregister(plugin)
            self._broken(name, distribution, version, str(error).replace("\n", " "))
            return
        callers = self.manager.get_hookcallers(plugin) or []
        log.debug("plugin %r (%s %s) was loaded in %.2f s", name, distribution, version, seconds)
        slow = f"took {seconds:.1f} s to import; its heavy imports belong in its methods" if seconds > SLOW_SECONDS else None
        if slow:
            log.warning("plugin %r (%s) %s", name, distribution, slow)
        self.statuses.append(
            PluginStatus(
                name=name,
                distribution=distribution,
                version=version,
                seconds=seconds,
                hooks=tuple(sorted(caller.name for caller in callers)),
                warning=slow,
            )
        )

    def _broken(self, name: str, distribution: str, version: str, reason: str) -> None:
        log.warning("plugin %r (%s %s) is broken and was skipped: %s", name, distribution, version, reason)
        self.statuses.append(PluginStatus(name=name, distribution=distribution, version=version, error=reason))

    def _free(self, name: str, distribution: str) -> str:
        """Return the name that a plugin goes by: a second one of a name carries its distribution's."""
        return name if all(status.name != name for status in self.statuses) else f"{distribution}:{name}"

    def ask(self, hook: str) -> list[tuple[PluginStatus, Any]]:
        """Return every plugin's answer to a hook, asked once; a plugin that raises is named and left out."""
        if hook not in self._answers:
            whole = dict if hook in ("pillm_models", "pillm_tables") else list  # a generator shall fail here
            self._answers[hook] = []
            for impl in getattr(self.manager.hook, hook).get_hookimpls():
                at, status = next((at, status) for at, status in enumerate(self.statuses) if status.name == impl.plugin_name)
                try:
                    self._answers[hook].append((status, whole(impl.function())))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 - as above
                    reason = f"{hook} failed: {type(error).__name__}: {error}"
                    log.warning("plugin %r (%s): %s", status.name, status.distribution, reason)
                    self.statuses[at] = replace(status, error=reason)
        return self._answers[hook]

    def provided(self, kind: str) -> dict[str, list[tuple[PluginStatus, type[Backend]]]]:
        """Return the backends of a kind: name -> who provides it (more than one where a name is claimed twice)."""
        found: dict[str, list[tuple[PluginStatus, type[Backend]]]] = {}
        for status, classes in self.ask(f"pillm_{kind}s"):
            for cls in classes:
                if not (isinstance(cls, type) and issubclass(cls, KINDS[kind]) and isinstance(getattr(cls, "name", None), str)):
                    log.warning("plugin %r: %r is not a %s with a name", status.name, cls, kind)
                    continue
                if status.version != "?":
                    cls.distribution_version, cls.distribution_name = status.version, status.distribution
                found.setdefault(cls.name, []).append((status, cls))
        return found


@cache
def registry() -> Registry:
    """Return the registry of this process; the first call loads the plugins."""
    made = Registry()
    made.load()
    return made


def find(kind: str, name: str) -> type[Backend]:
    """Return the backend class of a kind and name; `distribution:name` chooses where two claim one name."""
    provided = registry().provided(kind)
    distribution, sign, bare = name.rpartition(":")
    claims = provided.get(bare, [])
    if sign:
        claims = [(status, cls) for status, cls in claims if distribution in (status.distribution, status.name)]
    if not claims:
        missing_plugin(kind, bare)
        raise UnknownBackend(_unknown(kind, name, list(provided)))
    if len(claims) > 1:
        who = " and ".join(status.distribution for status, _ in claims)
        choices = " or ".join(repr(f"{status.distribution}:{bare}") for status, _ in claims)
        raise PluginError(f"{kind} {bare!r} is provided by {who}. Write {choices}, or uninstall one of them.")
    return claims[0][1]


def _unknown(kind: str, name: str, known: list[str]) -> str:
    broken = [f"{status.name} ({status.error})" for status in registry().statuses if status.error]
    also = f" Broken plugins were skipped: {'; '.join(broken)}." if broken else ""
    return (
        f"no {kind} is called {name!r}.{did_you_mean(name, known)} "
        f"Installed: {', '.join(sorted(known)) or 'none'}.{also}{_switched_off(kind, name)}"
    )


def _home(kind: str, name: str) -> str | None:
    """Return the distribution of pillm's own that provides a name, or None where that is not the point."""
    home = next((home for home, kinds in FIRST_PARTY.items() if name in kinds.get(kind, ())), None)
    return None if any(status.distribution == home for status in registry().statuses) else home


def missing_plugin(kind: str, name: str) -> None:
    """Raise MissingDependency where a name belongs to a plugin of pillm's own that is not installed."""
    home = _home(kind, name)
    if home and not _is_installed(home):
        raise MissingDependency(
            f"{kind} {name!r} comes with the plugin {home}, which is not installed: pip install {home} "
            f"(from a checkout: pip install ./plugins/{home})"
        )


def _switched_off(kind: str, name: str) -> str:
    home = _home(kind, name.rpartition(":")[2])
    return f" {home} provides it, but PILLM_PLUGINS leaves that out." if home and _is_installed(home) else ""


def _is_installed(distribution: str) -> bool:
    from importlib.metadata import distributions

    return any(True for _ in distributions(name=distribution))


def build(kind: str, use: str, options: Mapping[str, Any]) -> Backend:
    """Return the installed backend of a kind and name, configured; an option may itself be `{use: name, ...}`."""
    cls = find(kind, use)
    resolved = {name: _nested(value, f"{kind} {use!r} option {name!r}", cls, name) for name, value in options.items()}
    return configure(cls, resolved, kind=kind)


def _nested(value: Any, where: str, cls: type[Backend], option: str) -> Any:
    """Return the backend that an option `{use: name, ...}` asks for: of the kind that the option's type names."""
    if not (isinstance(value, Mapping) and "use" in value):
        return value
    use, field = str(value["use"]), cls.model_fields.get(option)
    wanted = [kind for kind, base in KINDS.items() if field and base in (field.annotation, *get_args(field.annotation))]
    kinds = [kind for kind in wanted or KINDS if registry().provided(kind).get(use.rpartition(":")[2])]
    if not kinds:
        for kind in wanted:
            missing_plugin(kind, use)
        raise ConfigError(f"{where}: no installed {' or '.join(wanted) or 'backend'} is called {use!r}.")
    return build(kinds[0], use, {key: item for key, item in value.items() if key != "use"})


def teacher(name: str, /, **options: Any) -> Teacher:
    """Return the installed teacher of that name with these options."""
    return cast(Teacher, build("teacher", name, options))


def trainer(name: str, /, **options: Any) -> Trainer:
    """Return the installed trainer of that name with these options."""
    return cast(Trainer, build("trainer", name, options))


def exporter(name: str, /, **options: Any) -> Exporter:
    """Return the installed exporter of that name with these options."""
    return cast(Exporter, build("exporter", name, options))


def runner(name: str, /, **options: Any) -> Runner:
    """Return the installed runner of that name with these options."""
    return cast(Runner, build("runner", name, options))


def metric(name: str, /, **options: Any) -> Metric:
    """Return the installed metric of that name with these options."""
    return cast(Metric, build("metric", name, options))


def filter_(name: str, /, **options: Any) -> Filter:
    """Return the installed row filter of that name with these options."""
    return cast(Filter, build("filter", name, options))


def publisher(name: str, /, **options: Any) -> Publisher:
    """Return the installed publisher of that name with these options."""
    return cast(Publisher, build("publisher", name, options))


def model_folder(name: str | Path) -> Path | None:
    """Return the folder of a model: an existing path, or a name that a plugin ships; None for anything else."""
    if Path(name).is_dir():
        return Path(name)
    claims = [(status, models[str(name)]) for status, models in registry().ask("pillm_models") if str(name) in models]
    if len(claims) > 1:
        raise PluginError(f"model {str(name)!r} is shipped by {' and '.join(status.distribution for status, _ in claims)}.")
    return Path(claims[0][1]) if claims else None


def model_names() -> list[str]:
    """Return the names of the models that plugins ship."""
    return sorted(name for _, models in registry().ask("pillm_models") for name in models)
