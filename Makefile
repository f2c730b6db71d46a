# `make demo` and `make test` set up all that they need. Each step of the set-up leaves a stamp in .setup/ and runs
# again only when what it is made from has changed.

MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PIP_USER := 0

PY := .venv/bin/python
MODEL := .setup/models/smollm2-135m-instruct
STATIC := $(shell find static -not -path '*/vendor*' 2>/dev/null)
CATALOGS := $(shell find locale -name '*.po' 2>/dev/null)
UNTRANSLATED := .venv node_modules static static_collected tests setup benchmarks storage test-results

help:
	@echo "make demo      run the platform on this machine and print its address and the logins"
	@echo "make test      all checks and tests but the slow ones"
	@echo "make test-all  the slow ones and the benchmarks as well"
	@echo "make loop      the whole loop without a browser: prompts to a compared policy, under 10 minutes"
	@echo "make setup     only what these need: .venv, dependencies, front-end libraries, model"
	@echo "make messages  bring new texts into the catalogs of translations (needs GNU gettext)"
	@echo "make clean     remove what make setup made; storage/ stays"

demo: setup
	@$(PY) manage.py demo

loop: setup
	@STORAGE="$${STORAGE:-storage/loop}" $(PY) manage.py demo --headless

test: setup chromium
	@$(PY) setup/tests.py

test-all: setup chromium
	@$(PY) setup/tests.py --all

lint: .setup/environment
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy .

format: .setup/environment
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

setup: .setup/environment .setup/frontend .setup/translations .setup/static $(MODEL)/config.json

.setup/environment: pyproject.toml constraints.txt setup/environment.sh
	@mkdir -p .setup
	@sh setup/environment.sh
	@touch $@

.setup/frontend: package.json package-lock.json setup/frontend.sh .setup/environment
	@sh setup/frontend.sh
	@touch $@

.setup/translations: $(CATALOGS) .setup/environment
	@for po in $(CATALOGS); do $(PY) -m babel.messages.frontend --quiet compile -i "$$po" -o "$${po%.po}.mo" || exit 1; done
	@touch $@

.setup/static: $(STATIC) .setup/frontend .setup/environment
	@$(PY) manage.py collectstatic --no-input --clear --verbosity 0
	@touch $@

# The date of creation would change at every run.
messages: .setup/environment
	@$(PY) manage.py makemessages --all --add-location file --no-wrap --no-obsolete $(UNTRANSLATED:%=--ignore %)
	@for po in $(CATALOGS); do sed '/^"POT-Creation-Date: /d' "$$po" >"$$po.new" && mv "$$po.new" "$$po" || exit 1; done

$(MODEL)/config.json: | .setup/environment
	@echo "Preparing SmolLM2-135M-Instruct (540 MB in $(MODEL))"
	@$(PY) -m training.recipes.prepare_smollm2 $(MODEL)

chromium: .setup/environment
	@sh setup/chromium.sh

clean:
	rm -rf .venv .setup node_modules static/vendor static_collected *.egg-info

.PHONY: help demo loop test test-all lint format setup messages chromium clean
