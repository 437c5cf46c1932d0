"""A stand-in for version 2's command line: real HTTP calls to the server; each clause names its fact.

The environment variable STANDIN_FAULT asks for one of its faults.
"""

import argparse
import json
import logging
import os
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

logger = logging.getLogger(__name__)
FAULT = os.environ.get("STANDIN_FAULT", "")

# v2: an unknown key in a section is an error; these are the ones that the two jobs have.
SECTIONS = {
    "backend": {"type", "api_key", "base_url", "model_id", "timeout", "max_retries"},
    "dataset": {"input_path", "output_path", "instruction_key", "system_key", "problem_key", "skip_empty", "min_length"},
    "generation": {"system_prompt", "temperature", "max_tokens", "max_workers", "show_progress", "retry_attempts"},
    "cot": {"prompt_template", "system_prompt", "temperature", "max_tokens", "max_workers", "show_progress"},
}


def expand(value):
    """v2: ${VAR} and $VAR are expanded everywhere in the configuration, and an unset one is a ValueError."""
    if isinstance(value, str):

        def found(match):
            name = match[1] or match[2]
            if name not in os.environ:
                raise ValueError(f"Config references unset environment variable '{name}'.")
            return os.environ[name]

        return re.sub(r"\$\{(\w+)\}|\$(\w+)", found, value)
    return {key: expand(item) for key, item in value.items()} if isinstance(value, dict) else value


def load(path):
    config = expand(yaml.safe_load(Path(path).read_text("utf-8")))
    for name, known in SECTIONS.items():
        unknown = set(config.get(name, {})) - known
        if unknown:
            raise ValueError(f"{name}.{min(unknown)}: Extra inputs are not permitted")
    return config


def call(backend, path, body=None):
    request = urllib.request.Request(
        backend["base_url"].rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {backend['api_key']}"},
    )
    with urllib.request.urlopen(request, timeout=backend["timeout"]) as response:
        return json.load(response)


def check_health(backend):
    """v2: the models are listed first; where that fails the job dies with a traceback."""
    try:
        call(backend, "/models")
    except OSError as error:
        logger.warning("Backend health check failed: %s", error)
        raise RuntimeError("Backend health check failed. Check your backend config and connectivity.") from error


def generate(backend, section, row):
    """v2: what fails in the end is logged, dropped, and does not change the exit code."""
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages.append({"role": "user", "content": row["asked"]})
    body = {"model": backend["model_id"], "messages": messages}
    try:
        reply = call(backend, "/chat/completions", {**body, **{key: section[key] for key in ("temperature", "max_tokens")}})
    except urllib.error.HTTPError as error:
        said = f"Error code: {error.code} - {error.read().decode()}"
    except OSError as error:
        said = f"Connection error. {error}"
    else:
        return reply
    logger.error("Failed to generate for instruction %s after %d attempts: %s", row["id"], 1, said)
    return None


def sample(row, reply):
    """v2: a conversation, and beside it which request it answers, by which model, for how many tokens."""
    said = reply["choices"][0]["message"]["content"] or ""
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages += [{"role": "user", "content": row["asked"]}, {"role": "assistant", "content": said}]
    facts = {"source": "teacher_model", "model": reply["model"], "request_id": row["id"], "usage": reply["usage"]}
    return {"messages": messages, "metadata": facts}


def seeds(config):
    """v2: instruct_distill keeps a row's id, cot_distill numbers the problems; rows without text are skipped."""
    rows = [json.loads(line) for line in Path(config["dataset"]["input_path"]).read_text("utf-8").split("\n") if line.strip()]
    if not rows:
        raise ValueError(f"No data found in {config['dataset']['input_path']}")
    if config["job_type"] == "cot_distill":
        template = config["cot"]["prompt_template"]
        problems = [row["problem"] for row in rows if row.get("problem")]
        return [{"id": f"cot_gen_{at}", "asked": template.replace("{problem}", text)} for at, text in enumerate(problems)]
    return [
        {"id": str(row.get("id", at)), "asked": row["instruction"], "system": row.get("system")}
        for at, row in enumerate(rows)
        if row.get("instruction")
    ]


def run(path):
    config = load(path)
    backend, section = config["backend"], config.get("cot") or config["generation"]
    check_health(backend)
    rows = seeds(config)
    if FAULT == "crash":
        raise MemoryError("no room for the data set")
    with ThreadPoolExecutor(section["max_workers"]) as pool:
        replies = list(pool.map(lambda row: generate(backend, section, row), rows))
    # v2: an empty answer is dropped with a line that nobody counts.
    samples = [sample(row, reply) for row, reply in zip(rows, replies, strict=True) if reply]
    samples = [found for found in samples if found["messages"][-1]["content"].strip()]
    with Path(config["dataset"]["output_path"]).open("w", encoding="utf-8") as file:  # v2: results are written at the end
        for found in samples:
            line = json.dumps(found, ensure_ascii=False)
            file.write((line[: len(line) // 2] if FAULT == "half a line" else line) + "\n")


def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=str)
    run(parser.parse_args().config)
