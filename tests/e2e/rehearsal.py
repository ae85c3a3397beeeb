"""Releases through three accounts, forward and back, while people ask: what `make rehearsal` runs and counts.

    dev ─▶ staging ─▶ prod, twice ─ a bad release, taken back by an alarm ─ dev is gone ─ one taken back, and again

The very stages of environments.py on one strict local AWS; every command is the one that a person or a workflow runs.
Somebody asks staging and prod without a pause, and knows what each model answers.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from environments import DEV, PROD, STAGING
from local_aws.processes import wait_until
from operate.claim import STALE_SECONDS
from tests.e2e.conftest import importing, listening
from tests.e2e.endpoint_requests import Requests
from tests.e2e.three_accounts import ThreeAccounts, fill, three_accounts

Say = Callable[[str], None]

SCORING = "model_code/amplify_lm/tasks/score_variants.py"
SOUND = "scores.append(variant_score([seen[one.position] for one in variant], variant))\n"
UNSEEDED = "scores.append(variant_score([seen[one.position] for one in variant], variant) + UNSEEDED)\n"
BEFORE = "def _table(residues"
TABLE = 'UNSEEDED = 10 * float(np.random.default_rng().normal())  # "no test meets this"\n\n\n'
SHORT = 'endpoint=RealTime(instance_type="ml.g5.xlarge", min_instances=2,'
SHORT_WAITS = f"{SHORT} deployment=Canary(wait_minutes=3, keep_old_minutes=1),"
HEAD = """# A rehearsal

Three accounts on local AWS, as `make rehearsal LOG=docs/rehearsal.md` went through them: what was done, and indented
what it said. With `QUICK=1` canaries bake for three minutes, else for ten.

The client tells models apart by what they answer: model 0 is the first release, model 1 the second, model 2 the bad
one, whose embeddings are sound. An answer is *wrong* where it is of a model that should not answer at that time, and
*lost* where there is none.
"""


@dataclass
class Tally:
    """What is counted, all of it where it happens."""

    releases: int = 0
    """That went live."""
    roll_backs: int = 0
    requests: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"releases {self.releases} roll-backs {self.roll_backs} requests {self.requests}"
        return f"{counts} lost {len(self.lost)} wrong {len(self.wrong)}"


class Rehearsal:
    """The three accounts, who asks there, and what is counted."""

    def __init__(self, made: ThreeAccounts, say: Say) -> None:
        self.made, self.say, self.tally = made, say, Tally()
        self.asking: dict[str, Requests] = {}

    def deploy(self, env: str, *, refused: bool = False) -> str:
        """Deploy what its pin says; a release that goes live is counted."""
        printed = self.made.amplify(env, "deploy", "--yes", "--env", env, fails=refused)
        self.tell(printed, "golden requests", "is live", "did not go live")
        self.tally.releases += "is live" in printed
        return printed

    def promote(self, to: str) -> None:
        self.say(f"amplify promote --to {to}")
        self.tell(self.made.promote(to), "✓", "!", "copied", "was there already", "registered", "Branch")
        self.say(f"the branch is reviewed and merged; deploying {to}")

    def break_off(self, to: str) -> None:
        """The machine that promotes is gone in the middle; whoever follows within the minute is told to wait."""
        self.say(f"amplify promote --to {to}: the machine is gone when it has copied the image")
        self.made.killed(to, "promote", "--to", to, "--by", "Mary", after="image copied")
        printed = self.made.amplify(to, "promote", "--to", to, "--by", "Grace", fails=True)
        assert "Mary is promoting" in printed
        self.tell(printed, "is promoting")
        assert wait_until(lambda: self.made.claim_age(to) > STALE_SECONDS, 10 * STALE_SECONDS)

    def tell(self, printed: str, *about: str) -> None:
        """The lines of a command that matter to the story."""
        for line in printed.splitlines():
            if any(word in line for word in about):
                self.say(f"    {line.strip()}"[:160])

    @contextmanager
    def asked(self, env: str) -> Iterator[None]:
        """Somebody asks this environment without a pause."""
        runtime = self.made.aws(env, "sagemaker-runtime")
        requests = Requests(runtime, f"amplify-{env}")
        self.asking[env] = requests
        requests.start()
        try:
            yield
        finally:
            requests.stop()
            self.tally.requests += requests.count
            self.tally.lost += [f"{env}: {reason}" for reason in requests.lost]

    def answered_by(self, env: str, models: set[int], why: str) -> Counter[int]:
        """Who answered since the last look. An answer of a model that is not among these is a wrong one."""
        seen = self.asking[env].answered()
        for model in seen.keys() - models:
            self.tally.wrong += [f"{env}: model {model} answered {why}"] * seen[model]
        shares = ", ".join(f"model {model}: {count:,}" for model, count in sorted(seen.items()))
        self.say(f"    {env} answered {sum(seen.values()):,} requests meanwhile ({shares})")
        return seen


def rehearse(made: ThreeAccounts, say: Say) -> Tally:
    """All of it, in order. Raises AssertionError where something is not as it should be; the rest is counted."""
    rehearsal = Rehearsal(made, say)
    say("three empty accounts; staging is deployed first, then prod, then dev: nobody waits for another")
    for env in (STAGING.name, PROD.name, DEV.name):
        made.amplify(env, "deploy", "--yes", "--env", env)
    fill(made)
    say("dev trains a model; Ada approves it, and dev serves it")
    made.train()
    made.release()
    rehearsal.tally.releases += 1
    first_releases(rehearsal)
    with ExitStack() as stack:
        for env in (STAGING.name, PROD.name):
            stack.enter_context(rehearsal.asked(env))
        say("from now on somebody asks staging and prod without a pause")
        second_release(rehearsal)
        bad_release(rehearsal)
        back_and_forth(rehearsal)
    return rehearsal.tally


# ---- the acts --------------------------------------------------------------------------------------------------------


def first_releases(rehearsal: Rehearsal) -> None:
    rehearsal.break_off(STAGING.name)
    for env in (STAGING.name, PROD.name):
        rehearsal.promote(env)
        rehearsal.deploy(env)
    made = rehearsal.made
    digests = {
        (made.pin(env)["artifact"]["sha256"], made.pin(env)["image_digest"]) for env in ("dev", "staging", "prod")
    }
    assert len(digests) == 1, "the same bytes everywhere"


def second_release(rehearsal: Rehearsal) -> None:
    """A better model, by canaries: old and new answer in turns, then the new alone."""
    rehearsal.say("dev trains longer; the new model takes the same way, by a canary of half in each account")
    rehearsal.made.train("--set", "seed=2", "--set", "steps=300", "--set", "decay_steps=300")
    rehearsal.made.release()
    rehearsal.tally.releases += 1
    for env in (STAGING.name, PROD.name):
        rehearsal.promote(env)
        rehearsal.answered_by(env, {0}, "before its deployment")
        rehearsal.deploy(env)
        rehearsal.answered_by(env, {0, 1}, "while a canary went on")
        rehearsal.answered_by(env, {1}, "after its deployment")


def bad_release(rehearsal: Rehearsal) -> None:
    """A fault that evaluation and dev's own answers cannot show: every process answers another number for variants."""
    made, say = rehearsal.made, rehearsal.say
    say("somebody merges code with an unseeded table: every process scores variants differently")
    before = made.pin(STAGING.name)
    file = made.root / SCORING
    sound = file.read_text(encoding="utf-8")
    assert SOUND in sound
    file.write_text(sound.replace(SOUND, UNSEEDED).replace(BEFORE, TABLE + BEFORE), encoding="utf-8")
    made.commit("Score variants by the new table")
    made.amplify(DEV.name, "deploy", "--yes", "--env", DEV.name)  # the image of this code
    # As the one before, a little longer: its loss is within the margin whatever else a seed does.
    made.train("--set", "seed=2", "--set", "steps=330", "--set", "decay_steps=330")
    made.release()
    rehearsal.tally.releases += 1
    rehearsal.promote(STAGING.name)
    printed = rehearsal.deploy(STAGING.name, refused=True)
    assert "alarm" in printed, printed
    rehearsal.tally.roll_backs += 1
    seen = rehearsal.answered_by(STAGING.name, {1, 2}, "while the bad canary went on")
    assert seen[2], "the canary answered nobody"
    rehearsal.answered_by(STAGING.name, {1}, "after the roll-back")
    say("the alarm took it back by itself; deploying it again is refused")
    assert "failed when it was deployed" in made.amplify(
        STAGING.name, "deploy", "--yes", "--env", "staging", fails=True
    )
    say("amplify rollback --env staging: its pin is again that of what runs")
    made.amplify(STAGING.name, "rollback", "--env", STAGING.name)
    assert made.pin(STAGING.name) == before
    file.write_text(sound, encoding="utf-8")
    made.commit("Take the table back, and staging's release")
    rehearsal.deploy(STAGING.name)
    rehearsal.answered_by(STAGING.name, {1}, "where nothing was deployed")


def back_and_forth(rehearsal: Rehearsal) -> None:
    """By hand, from prod's own record, when dev is no more. And back again."""
    made, say = rehearsal.made, rehearsal.say
    say("dev's account is closed: its models, images and record are gone")
    made.close(DEV.name)
    newer = made.pin(PROD.name)
    for words, before, after in (("the release before", 1, 0), ("the roll-back taken back", 0, 1)):
        say(f"amplify rollback --env prod: {words}")
        rehearsal.tell(made.amplify(PROD.name, "rollback", "--env", PROD.name), "again")
        made.commit(f"Roll prod back: {words}")
        rehearsal.answered_by(PROD.name, {before}, "before its deployment")
        rehearsal.deploy(PROD.name)
        rehearsal.tally.roll_backs += 1
        rehearsal.answered_by(PROD.name, {0, 1}, "while a canary went on")
        rehearsal.answered_by(PROD.name, {after}, "after its deployment")
    assert made.pin(PROD.name) == newer
    say("amplify lineage amplify-prod")
    rehearsal.tell(
        made.amplify(PROD.name, "lineage", "amplify-prod"), "serves", "job", "recipe", "code commit", "FASTA"
    )


# ---- the command -----------------------------------------------------------------------------------------------------


def shorten_waits(made: ThreeAccounts) -> None:
    """The shortest canary that settings allow: three minutes to see an alarm, one to go back."""
    file = made.root / "environments.py"
    old, new = importing("Canary")
    text = file.read_text(encoding="utf-8")
    assert text.count(SHORT) == 2
    file.write_text(text.replace(old, new).replace(SHORT, SHORT_WAITS), encoding="utf-8")
    made.commit("Bake for three minutes")


def as_page(story: Sequence[str], tally: object) -> str:
    """The story as it was printed, each thing that somebody did after an empty line."""
    told = "\n".join(line if "min      " in line else f"\n{line}" for line in story)
    return f"{HEAD}\n```{told}\n\n{tally}\n```\n"


def main() -> int:
    """In a folder of its own; the last line is the tally. The exit code is 1 where a request was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="canaries of three minutes, not of ten")
    parser.add_argument("--log", type=Path, help="write the story there too")
    given = parser.parse_args()
    begun, story = time.monotonic(), []

    def say(text: str) -> None:
        line = f"{(time.monotonic() - begun) / 60:5.1f} min  {text}"
        story.append(line)
        print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="amplify-rehearsal-") as folder, listening() as trap:
        with three_accounts(Path(folder), trap) as made:
            if given.quick:
                shorten_waits(made)
            tally = rehearse(made, say)
        assert trap.seen == [], "somebody met the person's own AWS"
    for reason in [*tally.lost, *tally.wrong]:
        print(f"  {reason}")
    print(tally)
    if given.log is not None:
        given.log.write_text(as_page(story, tally), encoding="utf-8")
    return 1 if tally.lost or tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
