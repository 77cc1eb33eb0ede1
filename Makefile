# Aliases only: dev.py does the work, and needs no make.
PYTHON ?= python3
.PHONY: tour test test-full check sim bench venv
tour test test-full check sim bench venv:
	@$(PYTHON) dev.py $@ $(ARGS)
