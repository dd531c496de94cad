# Everything runs in .venv, which .ci/setup makes with nothing but Python 3.11.
python := .venv/bin/python
export MPLBACKEND := Agg

.PHONY: demo demo-transfer test test-all lint types layout check bench bench-edge bench-peers soak fuzz examples protos map lock setup clean

setup:
	@.ci/setup

demo: setup ## the main job: train, export, serve, infer, explain
	@$(python) -m eyespot.cli demo --output demo

demo-transfer: setup ## five pictures of each digit: fine-tuned, against from scratch
	@$(python) -m eyespot.cli demo --transfer

test: setup ## the tests; needs no network, no GPU
	$(python) -m pytest -n auto --dist loadfile -m "not giant"

test-all: setup ## the tests with the networks of hundreds of megabytes
	$(python) -m pytest

lint: setup
	$(python) .ci/tool ruff check
	$(python) .ci/tool ruff format --check

types: setup
	$(python) -m mypy

layout: setup ## the arrows between the rooms, and generated code against its source
	$(python) .ci/tool lint-imports
	$(python) .ci/protos --check

check: lint types layout test

bench: setup ## ratios to ONNX Runtime in process and to a bare gRPC server, and a plot: PARTS="lenet5 idle" ROUNDS=1
	$(python) -m benchmarks.serving --rounds $(or $(ROUNDS),5) $(addprefix --only ,$(PARTS))

bench-edge: setup ## a small box: install, first answer, memory and idle processor beside a bare script
	$(python) -m benchmarks.edge

bench-peers: setup ## CPU per call beside MLServer and Triton's Python backend, which it installs: PEERS="mlserver triton" ROUNDS=2
	$(python) -m benchmarks.peers --rounds $(or $(ROUNDS),8) $(addprefix --only ,$(PEERS))

soak: setup ## everything at once for MINUTES=10: no answer lost, nothing kept; LEAK=memory must fail
	$(python) -m tests.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(if $(LEAK),--leak $(LEAK))

fuzz: setup ## INPUTS=100000 that nobody should send: no crash, no hang, no fault of ours
	$(python) -m tests.fuzz --inputs $(or $(INPUTS),100000) $(if $(SEED),--seed $(SEED))

examples: setup ## the example programs of Triton's client, unchanged: TRITON_EXAMPLES=their folder
	$(python) -m tests.e2e.triton_examples $(or $(TRITON_EXAMPLES),$(error set TRITON_EXAMPLES to the folder of the programs))

protos: setup ## regenerate the messages after a change of a .proto
	$(python) .ci/protos

map: setup ## docs/map.md and the list of rooms in the README, after files have come or gone
	$(python) .ci/map

lock: ## resolve pyproject.toml anew into dev.lock
	.ci/lock

clean:
	rm -rf .venv build dist demo demo-transfer
