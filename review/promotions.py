"""Which model serves before and after: the release pins, side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from review.assembly import Assembly, Json
from review.property_checks import leaves
from review.remarks import Remark
from review.rules import ON_A_LAPTOP
from review.words import short

METRICS = ("loss", "perplexity", "accuracy", "proteins", "residues")


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """One pin that changes."""

    pin: str
    """`<env>`, or `<env>.shadow`."""
    rows: tuple[tuple[str, str, str], ...]
    """What, before, after."""


def promotions(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[Promotion]:
    """Every pin that differs."""
    found = []
    for pin in sorted(before.keys() | after.keys()):
        was, now = before.get(pin), after.get(pin)
        if was != now:
            rows = [(what, _text(_get(was, path)), _text(_get(now, path))) for what, path in _rows(was, now)]
            found.append(Promotion(pin=pin, rows=tuple(row for row in rows if row[1] or row[2])))
    return found


def _rows(was: Json | None, now: Json | None) -> list[tuple[str, str]]:
    measured = {*((was or {}).get("evaluation") or {}), *((now or {}).get("evaluation") or {})}
    return [
        ("model package", "model_package_version"),
        ("recipe", "recipe"),
        *[(name, f"evaluation.{name}") for name in METRICS if name in measured],
        ("image", "image_digest"),
        ("artefact SHA-256", "artifact.sha256"),
        ("approved by", "approved_by"),
        ("approved at", "approved_at"),
    ]


def promotion_remarks(
    before: Mapping[str, Json], after: Mapping[str, Json], settings: Mapping[str, Json], now: Mapping[str, Json]
) -> Iterator[Remark]:
    """Of pins before and after, by the settings of base and of head. Their order is that of environments.py: a model
    goes from each to the next."""
    for promotion in promotions(before, after):
        pin = promotion.pin
        environment = pin.removesuffix(".shadow")
        margin = _get(settings.get(environment) or {}, "promotion.loss_margin")
        said = [
            *_judged(environment, before.get(pin), after.get(pin), after, [*now], margin),
            *_foreign(environment, before.get(pin), after.get(pin), settings, now),
        ]
        for rule, what in said:
            shadow = "shadow: " if pin != environment else ""
            yield Remark(rule=rule, environment=environment, stack="endpoint", what=shadow + what)


def _foreign(
    environment: str, was: Json | None, now: Json | None, settings: Mapping[str, Json], head: Mapping[str, Json]
) -> Iterator[tuple[str, str]]:
    """Where a release comes from that is none of this environment's places."""
    if now is None:
        return
    own = _get(head.get(environment), "account")
    if (account := _account(now.get("model_package_arn"))) != own:
        yield "promotion.foreign", f"the model package is of account {account}, and not of {own}, which is ours"
    places = [_bucket(_get(pin, "artifact.s3_uri")) for pin in (was, now)]
    if was is not None and places[0] != places[1]:
        yield "promotion.foreign", f"the artefact comes from bucket {places[1]}, and no longer from {places[0]}"
    source = _get(settings.get(environment), "promotion.source")
    came = now.get("promoted_from")
    if source is None or "promoted_from" not in now:
        return
    if _get(came, "environment") != source:
        from_ = _text(_get(came, "environment")) or "nowhere"
        yield "promotion.foreign", f"it comes from {from_}, and not from {source}"
    theirs = _get(settings.get(source), "account")
    if came and (account := _account(_get(came, "model_package_arn"))) != theirs:
        yield "promotion.foreign", f"it was copied from account {account}, and not from {theirs}, which is {source}'s"


def _account(arn: Any) -> str:
    return str(arn).split(":")[4] if str(arn).count(":") > 4 else "nobody"


def _bucket(uri: Any) -> str:
    return str(uri).removeprefix("s3://").split("/")[0]


def served_remarks(head: Assembly) -> Iterator[Remark]:
    """Models in templates that no pin names: whoever reads the pins reads of another model."""
    for stack in head.stacks.values():
        environment = stack.environment
        if environment in head.stand_ins:
            continue
        pinned = {pin.get("model_package_arn") for name, pin in head.pins.items() if name.split(".")[0] == environment}
        for id_, model in stack.of_type("AWS::SageMaker::Model").items():
            for path, package in leaves(model):
                if path.endswith("ModelPackageName") and package not in pinned:
                    what = f"{short(id_)} serves {package}, which no pin of {environment} in releases/ names"
                    yield Remark(rule="promotion.unpinned", environment=environment, stack=stack.short_name, what=what)


def way_remarks(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[Remark]:
    """Of settings: which way releases go, and how bad one may be. No template says it: `amplify promote` reads it."""
    for environment in before.keys() & after.keys():
        was, now = ((side[environment] or {}).get("promotion") for side in (before, after))
        if was == now or (before[environment] or {}).keys() != (after[environment] or {}).keys():
            continue
        for rule, what in _loosened(was or {}, now or {}):
            yield Remark(rule=rule, environment=environment, stack="promotion", what=what)


def _loosened(was: Json, now: Json) -> Iterator[tuple[str, str]]:
    sources = was.get("source"), now.get("source")
    if sources[0] and not sources[1]:
        yield "promotion.way", f"releases came from {sources[0]} through its gates, and can be made here without them"
    elif sources[0] and sources[0] != sources[1]:
        yield "promotion.way", f"releases come from {sources[1]} and no longer from {sources[0]}"
    for setting, what in (
        ("loss_margin", "how much worse a release may be than the one before, in nats"),
        ("tolerance", "how far an answer may be from the recorded one while a release goes live"),
    ):
        old, new = was.get(setting), now.get(setting)
        if isinstance(old, int | float) and isinstance(new, int | float) and new > old:
            yield "promotion.gate", f"{what}: {old:g} → {new:g}"


def _judged(
    environment: str,
    was: Json | None,
    now: Json | None,
    pins: Mapping[str, Json],
    order: list[str],
    margin: float | None,
) -> Iterator[tuple[str, str]]:
    if now is None:
        yield (
            "promotion.withdrawn",
            "no model is released any more; the endpoint stack leaves the app, and stays until somebody deletes it",
        )
        return
    names = [
        f"model {_text(_get(pin, 'model_package_version'))} ({_text(pin.get('recipe'))})" if pin else "none"
        for pin in (was, now)
    ]
    losses = [_get(pin, "evaluation.loss") for pin in (was, now)]
    told = f"{names[0]} → {names[1]}"
    if all(isinstance(loss, int | float) for loss in losses):
        told += f", loss {losses[0]:.4g} → {losses[1]:.4g}"
    elif isinstance(losses[1], int | float):
        told += f", loss {losses[1]:.4g}"
    yield "promotion.released", f"{told}, approved by {_text(now.get('approved_by'))}"
    if not isinstance(losses[1], int | float) or _get(now, "evaluation.beats_letter_frequencies") is False:
        yield "promotion.unproven", f"{names[1]} has no evaluation that it passed"
    elif isinstance(losses[0], int | float) and losses[1] > losses[0]:
        beyond = margin is not None and losses[1] - losses[0] > margin
        yield (
            "promotion.far_worse" if beyond else "promotion.worse",
            f"{names[1]} has a higher loss than the model before: {losses[0]:.4g} → {losses[1]:.4g}"
            + (f"; at most {margin:g} is allowed" if beyond else ""),
        )
    if was is not None and _identity(was) == _identity(now):
        return
    chain = [name for name in order if name not in ON_A_LAPTOP]
    earlier = chain[: chain.index(environment)] if environment in chain else []
    if earlier and _identity(pins.get(earlier[-1])) != _identity(now):
        yield "promotion.stranger", f"{names[1]} is not what {earlier[-1]} serves: image or artefact differ"


def _identity(pin: Json | None) -> tuple[Any, Any] | None:
    """What two environments must share to serve the same model."""
    return (pin.get("image_digest"), _get(pin, "artifact.sha256")) if pin else None


def _get(pin: Any, path: str) -> Any:
    value: Any = pin
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    written = "" if value is None else str(value)
    return f"{written[:19]}…" if len(written) >= 64 else written
