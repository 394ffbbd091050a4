# Two commands to begin with: `make demo` and `make test`.
.PHONY: demo test check bench lock format clean

demo:  ## a simulated campus, a broker, the hub, and readings arriving; ARGS="--seconds 20" ends by itself
	@scripts/setup
	@.venv/bin/dormhub demo $(ARGS)

test:  ## every test; real servers are installed where that is possible
	@scripts/setup dev
	@scripts/test $(ARGS)

check:  ## format, lint, types, import rules, documents in step
	@scripts/setup dev
	@scripts/check

bench:  ## every benchmark, short; ARGS="--full" for the long form
	@scripts/setup dev
	@scripts/servers
	@.venv/bin/python -m benchmarks $(ARGS)

lock:  ## write the lock files anew
	@scripts/lock

format:
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

clean:
	@rm -rf .venv data demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
