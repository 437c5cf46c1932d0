"""`pillm plan`: does a model fit a device, and how fast would it be?"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import pillm
from pillm.artifacts import Plan, to_json
from pillm.cli.cards import TRUST, plan_lines, plans_table
from pillm.cli.choices import assignments, backend_option, readable
from pillm.cli.targets import files_in, model_of
from pillm.cli.terminal import Terminal, cli_command
from pillm.errors import DataError

_PROMPT, _ANSWER = 128, 64
"""The tokens of a prompt and of an answer, where only the other is said."""


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from pillm.devices import THIS_MACHINE, device_names

    return [CompletionItem(name) for name in (*device_names(), THIS_MACHINE) if name.startswith(incomplete)]


@cli_command("plan")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--device", "devices", multiple=True, metavar="NAME", shell_complete=_complete,
    help="A device profile, such as pi4-4gb, a file, or this-machine; may be given several times.",
)  # fmt: skip
@click.option(
    "--context", type=click.IntRange(1), help="Tokens of context; by default what the profile says, or the request needs."
)  # fmt: skip
@click.option("--ram", type=click.IntRange(1), metavar="MIB", help="The device's memory, where it is not the profile's.")
@click.option("--parallel", type=click.IntRange(1, 64), default=1, help="Answers at once: each takes a cache of its own.")
@click.option("--no-repack", is_flag=True, help="Plan for llama.cpp's --no-repack: no weight is held a second time.")
@click.option("--swa-full", is_flag=True, help="Plan for llama.cpp's --swa-full: layers with a window keep the whole context.")
@click.option("--quant", metavar="NAME", help="Plan for this quantisation of a checkpoint, such as Q4_K_M.")
@click.option(
    "--prompts", type=readable(dir_okay=False), metavar="FILE", help="Take the lengths of a request from these rows."
)  # fmt: skip
@click.option("--prompt-tokens", type=click.IntRange(1), help="Tokens of a prompt: tells the time to the first token too.")
@click.option("--answer-tokens", type=click.IntRange(1), help="Tokens of its answer: tells the seconds per answer.")
@click.option("--prefix-tokens", type=click.IntRange(0), default=0, help="Tokens that every prompt begins with, to be saved.")
@click.option("--table", is_flag=True, help="One row for each quantisation that suits the device.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw the plans, as FILE.html or FILE.svg.")
@click.option(
    "--calibrate", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.yaml",
    help="First time this machine for about a minute and write its profile, then plan for it.",
)  # fmt: skip
@backend_option("runner", required=False, more=" times the machine for --calibrate; by default local")
@assignments("runner")
@click.pass_context
def command(
    ctx: click.Context, /, models: tuple[str, ...], devices: tuple[str, ...], runner: str | None, options: dict[str, Any],
    **chosen: Any,
) -> None:  # fmt: skip
    """Say whether MODEL (a .gguf file, a model folder, a config.json) fits a device. Arithmetic: nothing is run.

    Of owner/name of a hub only config.json is fetched. Of the folder of a run or of an export every .gguf file is planned.

    Exit 3 where it does not fit.
    """
    _check(chosen)
    terminal: Terminal = ctx.obj
    if chosen["calibrate"]:
        devices = (*devices, _calibrated(chosen["calibrate"], runner, options, terminal))
    elif runner or options:
        raise click.UsageError("a runner times the machine: say --calibrate FILE.yaml.")
    if not models and chosen["calibrate"]:
        terminal.result({"profile": str(chosen["calibrate"])}, f"Wrote {chosen['calibrate']}.")
        return
    if not models or not devices:
        raise click.UsageError("name a MODEL and a --device, such as pi4-4gb.")
    plans = _plans(models, devices, chosen, terminal)
    if chosen["plot"]:
        from pillm.report.planplot import write_plot

        write_plot(plans, chosen["plot"])
        terminal.say(f"Drew {chosen['plot']}.")
    shown = plan_lines(plans[0]) if len(plans) == 1 and not chosen["table"] else (plans_table(plans), "", TRUST)
    terminal.result({"plans": [to_json(one) for one in plans]}, *shown)
    fitting = [one.fits for one in plans]
    if not (any(fitting) if chosen["table"] else all(fitting)):
        ctx.exit(3)


def _check(chosen: dict[str, Any]) -> None:
    """Refuse words that do not go together, and a picture that could not be drawn, before anything is fetched or timed."""
    if chosen["table"] and chosen["quant"]:
        raise click.UsageError("--table goes over the quantisations, and --quant asks for one: leave one of them out.")
    if chosen["prompts"] and (chosen["prompt_tokens"] or chosen["prefix_tokens"]):
        raise click.UsageError("--prompts counts the tokens of prompts and prefix: leave --prompt-tokens, --prefix-tokens out.")
    if chosen["plot"]:
        from pillm.report.planplot import drawn_form

        drawn_form(chosen["plot"])


def _profile(name: str, chosen: dict[str, Any]) -> pillm.DeviceProfile:
    profile = pillm.device(name)
    if chosen["ram"]:
        profile = profile.with_memory(chosen["ram"])
    if chosen["swa_full"]:
        profile = profile.with_whole_windows()
    profile = profile.answering(chosen["parallel"])
    return profile.without_repacking() if chosen["no_repack"] else profile


def _calibrated(out: Path, runner: str | None, options: dict[str, Any], terminal: Terminal) -> str:
    from pillm.cli.calibrating import calibrate

    path = calibrate(out, runner or "local", options, terminal)
    terminal.say(f"Wrote {path}; give it as --device {path.resolve()}.")
    return str(path.resolve())


def _plans(models: tuple[str, ...], devices: tuple[str, ...], chosen: dict[str, Any], terminal: Terminal) -> list[Plan]:
    asked = _lengths(chosen, terminal)
    rows = pillm.read_prompts(chosen["prompts"]) if chosen["prompts"] else []
    profiles = [_profile(name, chosen) for name in devices]
    found = []
    for model in chain.from_iterable(_models(text, terminal) for text in models):
        lengths, longest = _requests(model, rows, chosen) if chosen["prompts"] else (asked, 0)
        for profile in profiles:
            context = chosen["context"] or (longest if longest > profile.context else None)
            if chosen["table"]:
                found += pillm.plan_table(model, profile, context=context, lengths=lengths)
            else:
                found.append(pillm.plan(model, profile, context=context, quant=chosen["quant"], lengths=lengths))
    return found


def _requests(model: Any, rows: list[pillm.Prompt], chosen: dict[str, Any]) -> tuple[pillm.Lengths, int]:
    """Return a middling request of a file's rows and the tokens of the longest, under the model's own contract."""
    from pillm.cli.targets import contract_beside
    from pillm.planning import requests_of

    contract = contract_beside(Path(getattr(model, "path", model)))
    found = requests_of(rows, model, contract=contract, answer=chosen["answer_tokens"])
    if found.typical is None:
        what = "no row has an answer: say --answer-tokens too" if rows else "there are no rows"
        raise DataError(f"{chosen['prompts']}: {what}.")
    return found.typical, found.longest


def _models(text: str, terminal: Terminal) -> list[Any]:
    """Return what a text names: the model files of a run's or an export's folder, else the one model."""
    path = Path(text)
    if path.exists():
        return files_in(path) or [path]
    return [model_of(text, terminal, only=("config.json",))]


def _lengths(chosen: dict[str, Any], terminal: Terminal) -> pillm.Lengths | None:
    """Return the request that the options name; what they leave out is assumed, and said to be."""
    prompt, answer, prefix = (chosen[name] for name in ("prompt_tokens", "answer_tokens", "prefix_tokens"))
    if chosen["prompts"]:
        return None
    if prompt is None and answer is None:
        if prefix:
            raise click.UsageError("--prefix-tokens is a part of --prompt-tokens; say that too.")
        return None
    made = pillm.Lengths(prompt=prompt or max(_PROMPT, prefix), answer=answer or _ANSWER, prefix=prefix)
    if prompt is None:
        terminal.say(f"A prompt of {made.prompt} tokens is assumed: --prompt-tokens or --prompts FILE says how long yours are.")
    if answer is None:
        terminal.say(
            f"An answer of {made.answer} tokens is assumed: --answer-tokens or --prompts FILE says how long yours are."
        )
    return made
