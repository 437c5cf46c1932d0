# `make quickstart` shows the whole chain on this machine; `make test` proves that it holds.
# Options: PYTHON=python3.12, RUNS=folder, HOME_ASSISTANT_INTENTS=checkout of home-assistant/intents.
.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-full check benchmarks reference clean distclean

VENV ?= .venv
RUNS ?= runs
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)
PLUGINS := './plugins/pillm-hf[quant]' ./plugins/pillm-openai './plugins/pillm-llamacpp[convert]' ./plugins/pillm-nano ./plugins/pillm-easydistill ./plugins/pillm-trl ./plugins/pillm-hub
HOME_ASSISTANT_INTENTS ?= $(wildcard ../shared/data/home-assistant-intents)
COMMUNITY := $(if $(HOME_ASSISTANT_INTENTS),$(RUNS)/community.jsonl)

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## make .venv with pillm and its plugins

$(VENV)/.made: .ci/venv
	.ci/venv $(VENV)
	touch $@

$(STAMP): $(VENV)/.made $(PROJECTS)
	@echo "installing pillm and its plugins; the first time llama.cpp is compiled, which takes some minutes"
	$(PY) -m pip install -qq --group dev --editable . $(addprefix --editable ,$(PLUGINS))
	$(VENV)/bin/pillm-llamacpp fetch
	touch $@

quickstart: $(STAMP) $(COMMUNITY) ## distil the tiny teacher into GGUF files, with scores and a report
	$(VENV)/bin/pillm run examples/quickstart.yaml --out $(RUNS)/quickstart \
	    $(if $(COMMUNITY),--set evaluate.sets.community=$(abspath $(COMMUNITY)))

$(RUNS)/community.jsonl: dataset/assistant/community.py $(STAMP)
	mkdir -p $(@D)
	$(PY) $< $(HOME_ASSISTANT_INTENTS) --out $@

test: check ## everything a change must pass
	OMP_NUM_THREADS=1 $(PY) -m pytest -p tests.strict -p tests.nosync -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not full"

test-full: check ## the same with the heavy forms, one after the other; llama.cpp's own programs are built first
	$(PY) -c "from pillm_llamacpp.building.tools import tool; tool('llama-bench')"
	$(PY) -m pytest -p tests.strict

check: $(STAMP) ## ruff and mypy
	$(PY) -m ruff check
	$(PY) -m mypy

benchmarks: $(STAMP) ## measure, and write tests/benchmarks/results.jsonl and docs/benchmarks.md
	$(PY) -m tests.benchmarks --write

reference: $(STAMP) ## write docs/reference/ and the generated schemas anew
	$(PY) -m tests.reference --write

clean: ## remove caches
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove the environment too; runs are kept
	rm -rf $(VENV)
