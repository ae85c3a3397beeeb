"""The page is read by people, and posted as a comment: text of a stranger's pull request stays text."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from review import rules
from review.compare import Review
from review.markdown import escaped
from review.page import LONGEST, page
from review.remarks import Remark

CODE = Path(__file__).parents[2] / "review"


PLACES = {"dev": ("111111111111", "us-east-1"), "prod": ("333333333333", "us-east-1")}


def review(*remarks: Remark) -> Review:
    return Review(base="a", head="b", environments=["dev", "prod"], remarks=remarks, places=PLACES)


def remark(rule: str, what: str, environment: str = "prod", **more: tuple[str, ...]) -> Remark:
    return Remark(rule=rule, environment=environment, stack="storage", what=what, **more)


def test_the_most_dangerous_stands_first() -> None:
    text = page(review(remark("data.retention", "less time"), remark("change.data_replaced", "a new bucket")))
    assert text.startswith("# Infrastructure review: 🔴 stop\n")
    assert "| [destructive](#destructive) | 🔴 stop | a new bucket (prod · storage); [1 more](#destructive) |" in text
    assert text.index("🔴 **prod · storage**: a new bucket") < text.index("🟡 **prod · storage**: less time")


def test_the_same_of_several_environments_is_said_once() -> None:
    both = [
        remark("alarm.silent", f"amplify-{name} is silent in {account}", environment=name)
        for name, account in (("dev", "111111111111"), ("prod", "333333333333"))
    ]
    text = page(review(*both))
    assert text.count("is silent") == 2  # in the table and in its section
    assert "**all · storage**: amplify-&lt;env&gt; is silent in &lt;account&gt;" in text


def test_an_account_of_others_is_written_out_however_many_environments_name_it() -> None:
    both = [
        remark("trust.other_account", f"arn:aws:iam::999999999999:root may become Role of {account}", environment=name)
        for name, (account, _) in PLACES.items()
    ]
    text = page(review(*both))
    assert "**all · storage**: arn:aws:iam::999999999999:root may become Role of &lt;account&gt;" in text


def test_arns_of_the_environment_itself_are_short_and_those_of_others_are_not() -> None:
    ours, theirs = (
        "arn:aws:sagemaker:us-east-1:333333333333:model/*",
        "arn:aws:sagemaker:us-east-1:444444444444:model/*",
    )
    elsewhere = "arn:aws:sagemaker:eu-west-1:333333333333:model/*"
    root = "arn:aws:iam::333333333333:root"
    text = page(review(remark("permissions.new", f"on {ours}, {theirs}, {elsewhere}, {root}")))
    shown = [escaped(one) for one in ("sagemaker:model/*", theirs, elsewhere, root)]
    assert f"on {', '.join(shown)}" in text
    assert "`service:thing` is an ARN of the environment's own account and region" in text
    assert "service:thing" not in page(review(remark("permissions.new", f"on {theirs}")))


def test_callers_of_the_own_account_are_called_so_and_no_others() -> None:
    def shown(account: str) -> str:
        return page(review(remark("exposure.new_grant", f"x may y, where aws:PrincipalAccount is {account}; z is 1")))

    assert "x may y, where the caller is of this account; z is 1" in shown("333333333333")
    for others in ("444444444444", "333333333333 or 444444444444", "3333333333331"):
        assert f"where aws:PrincipalAccount is {others}; z" in shown(others)


def test_what_one_role_may_do_stands_below_its_name() -> None:
    text = page(review(*(remark("permissions.new", f"Trainer may {one}") for one in ("read", "write"))))
    assert "\n- 🟡 **prod · storage**: Trainer may\n  - read\n  - write\n" in text
    alone = page(review(remark("permissions.new", "Trainer may read"), remark("permissions.new", "Approver may read")))
    assert "\n- 🟡 **prod · storage**: Trainer may read\n" in alone


def test_what_one_reason_excuses_stands_below_it() -> None:
    reasons = [
        Remark(rule="policy.new_reason", environment="", stack="", what="a new reason, for any model: “Names change”"),
        remark("policy.new_reason", "IAM5 at Trainer, 2 times: “Names change”", details=("a", "b")),
    ]
    text = page(review(*reasons))
    assert "\n- 🟡 a new reason: “Names change”\n  - any model\n  - **prod · storage**: IAM5" in text
    assert "\n    <details><summary>all 2</summary>\n\n    - a\n    - b\n\n    </details>" in text


def test_who_judges_is_said_in_the_second_line() -> None:
    for judge, said in (
        ("base", "judged by the base's review"),
        ("head", "**judged by its own review"),
        ("neither", "neither"),
    ):
        assert said in page(replace(review(remark("permissions.new", "x")), judge=judge)).splitlines()[1]


def test_what_is_about_no_environment_names_none() -> None:
    said = Remark(rule="policy.judge", environment="", stack="", what="the rules changed")
    text = page(review(said))
    assert "| the rules changed |" in text
    assert "\n- 🟡 the rules changed\n" in text


def test_a_page_that_is_cut_ends_what_is_folded() -> None:
    harmless = [remark("alarm.changed", f"{number} " + "x" * 200) for number in range(2_000)]
    text = page(review(*harmless))
    assert text.count("<details>") == text.count("</details>") == 1
    assert text.endswith("</details>\n\nIt goes on in review.json.\n")


def test_nothing_that_is_local_stops() -> None:
    text = page(Review(base="a", head="b", environments=["local"], remarks=[remark("trust.anybody", "x", "local")]))
    assert text.startswith("# Infrastructure review: 🟡 look\n")


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=y>",
        "@everybody",
        "[a](https://evil.example)",
        "| cell |",
        "# head\nline",
        "`code`",
        "~~no~~",
        "see #12 and team/repo#4",
        "www.evil.example",
        "right\u202eleft",
    ],
)
def test_markup_in_a_template_is_text_on_the_page(text: str) -> None:
    written = page(review(remark("pipeline.limit_lost", text)))
    section = written.split("## Safeguards")[1]
    said = escaped(text)
    assert said in section
    assert "<img" not in said
    for markup in ("@every", "://", "#1", "#4", "www.", "\u202e"):
        assert markup not in html.unescape(said)  # GitHub looks for names and numbers in the finished page
    assert not re.search(r"(?<!\\)[\[\]|~]", said)
    assert "\n" not in said


def test_a_page_too_long_for_a_comment_loses_what_is_folded_first() -> None:
    details = tuple(f"action {number} on a resource with a long name" for number in range(3_000))
    text = page(review(remark("permissions.new_identity", "a new role", details=details)))
    assert "a new role" in text
    assert "action 17" not in text
    many = [remark("permissions.new", f"{number} " + "x" * 200) for number in range(2_000)]
    text = page(review(*many))
    assert len(text) < LONGEST + 100
    assert text.endswith("It goes on in review.json.\n")


def test_a_refusal_says_what_was_refused() -> None:
    why = "origin/main cannot be synthesised: SettingsError: no such setting"
    refused = Remark(rule="policy.refused", environment="", stack="", what=why)
    text = page(Review(base="origin/main", head="b", remarks=[refused], refusal=why))
    assert text.startswith("# Infrastructure review: 🔴 stop\n")
    assert "there is nothing to compare" in text
    assert "no such setting" in text


def test_every_rule_is_used_and_every_rule_that_is_used_is_weighed() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in CODE.glob("*.py") if path.name != "rules.py")
    made = {  # names that are put together
        *(f"{area}.{end}" for area in ("trust", "exposure") for end in ("anybody", "bound_anybody", "other_account")),
        *(
            f"{area}.{end}"
            for area in ("permissions", "trust", "exposure")
            for end in ("condition_lost", "condition_weakened", "denied", "deny_lost", "other_account")
        ),
        *(f"change.{of}_{end}" for of in ("data", "network") for end in ("removed", "replaced")),
        *(f"{which}_much" for which in rules.COST_STOP),
    }
    assert {rule for rule in rules.RULES if f'"{rule}"' not in source} <= made
    assert made <= set(rules.RULES)
    kinds = "|".join({rule.split(".")[0] for rule in rules.RULES})
    said = set(re.findall(rf'"((?:{kinds})\.[a-z_]+)"', source))
    assert said <= {*rules.RULES, "promotion.loss_margin", "promotion.source"}  # these are settings
    for which, weight in rules.RULES.values():
        assert which in rules.AREAS
        assert weight in rules.LEVELS
