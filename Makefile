# make demo: fit a network to a chip on real data, and show the page.   make check: everything that is tested.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Several threads of one process on few cores wait for each other: processes are what we run in parallel.
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help demo check bench format clean

help:
	@echo "make demo    install into .venv, fit a network to a chip on real data, say where the page is"
	@echo "make check   install into .venv, check format, lint and types, run all tests, docs and examples"
	@echo "make bench   measure speed and what is won against simpler methods"
	@echo "make format  format the code"
	@echo "make clean   remove .venv and what runs have left"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "chipfit needs Python 3.11 or newer; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv; the first time takes a few minutes"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[fit,dev]"
	@echo "Compiling the search for mappings"
	@$(BIN)/chipfit cost lenet5 --target eyeriss > /dev/null
	@touch $@

demo: $(INSTALLED)
	$(BIN)/chipfit fit digits --target eyeriss --budget energy=50% --out demo --resume
	@echo
	@echo "Open demo/report.html in a browser."

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pytest -q -rs -n 2 --dist loadfile

bench: $(INSTALLED)
	$(BIN)/python benchmarks/speed.py
	$(if $(DATA),$(BIN)/python benchmarks/fit.py $(DATA),@echo "make bench DATA=DIR, with CIFAR-10, also compares with simpler methods")

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv demo build src/chipfit.egg-info
