"""What this process runs of each endpoint: its fleet in service, and a second one while it is being updated.

The record in the store is the endpoint. A server that starts again brings back what was in service; an update that it
was killed in is given up, and the configuration before it serves.
"""

import logging
import random
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_aws import fleet as fleets
from local_aws import resources, store
from local_aws.deployments import Deployment, Progress, RollBackError, RollBackFailedError, Traffic
from local_aws.errors import SageMakerError
from local_aws.fleet import Fleet, InstanceVariant, Variant
from local_aws.serverless import ServerlessVariant
from local_aws.serving_container import Server, ServingError
from local_aws.settings import current
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

KIND, CONFIG = "endpoint", fleets.CONFIG
SHUTDOWN_GRACE_SECONDS = fleets.SHUTDOWN_GRACE_SECONDS

Desired = Mapping[str, Mapping[str, Any]]  # by variant: DesiredWeight, DesiredInstanceCount


@dataclass
class Life:
    """What this process runs of an endpoint."""

    traffic: Traffic = field(default_factory=Traffic)
    progress: Progress | None = None  # of a deployment that goes on
    cancelled: threading.Event = field(default_factory=threading.Event)  # it is deleted, or the server ends

    def retire(self, grace_seconds: float) -> None:
        for fleet in (self.traffic.old, self.traffic.new):
            if fleet is not None:
                fleet.retire(grace_seconds)


@dataclass(frozen=True)
class Taken:
    """An instance that answers one request, and is given back by `release`."""

    server: Server
    config: str
    variant: Variant

    def release(self) -> None:
        self.variant.release(self.server)


_lives: dict[tuple[Scope, str], Life] = {}
_lock = threading.Lock()


def find(scope: Scope, name: str) -> Record:
    """The record of an endpoint. Raises SageMakerError where there is none."""
    return resources.find(scope, KIND, "endpoint", name)


def change(scope: Scope, name: str, **changes: Any) -> None:
    store.current().change(scope, KIND, name, LastModifiedTime=time.time(), **changes)


def life_of(scope: Scope, name: str) -> Life | None:
    return _lives.get((scope, name))


def running() -> list[tuple[Scope, str, Fleet]]:
    """(scope, endpoint, fleet) of every fleet that takes requests."""
    with _lock:
        lives = list(_lives.items())
    return [
        (scope, name, fleet)
        for (scope, name), life in lives
        for fleet in (life.traffic.old, life.traffic.new)
        if fleet is not None
    ]


# ---- which instance answers ------------------------------------------------------------------------------------------


def acquire(scope: Scope, name: str, variant: str | None = None, most: int | None = None) -> Taken | None:
    """The instance that answers the next request, by shares and weights or by the variant's name; None where none can.

    Of those with fewer than `most` requests, where that is given. Raises SageMakerError where the endpoint has no such
    variant, or refuses the request.
    """
    life = _lives.get((scope, name))
    while life is not None:
        traffic = life.traffic
        candidates = [traffic.old, traffic.new if traffic.share > 0 else None]
        if random.random() < traffic.share:  # noqa: S311
            candidates.reverse()
        present = [fleet for fleet in candidates if fleet is not None]
        if variant is not None and present and not any(variant in fleet.variants for fleet in present):
            raise SageMakerError("ValidationError", f"Variant {variant} not found for endpoint {name}.")
        for fleet in present:
            if found := fleet.acquire(variant, most):
                return Taken(found[1], fleet.config, found[0])
        if life.traffic is traffic:
            return None
        # The fleets changed while we looked, and those we asked take nothing any more: ask those of now.
    return None


# ---- life ------------------------------------------------------------------------------------------------------------


def restore() -> None:
    """Bring back what an earlier server had in service, and finish what it had begun. In threads: it takes seconds."""
    shutil.rmtree(current().endpoints, ignore_errors=True)
    for scope, name, record in store.current().everywhere(KIND):
        match record["EndpointStatus"]:
            case "Creating":
                begin(scope, name, create)
            case "Deleting":
                store.current().delete(scope, KIND, name)
            case "Updating" | "RollingBack":
                change(scope, name, EndpointStatus="SystemUpdating")
                begin(scope, name, _come_back_from_an_update)
            case "InService" | "SystemUpdating":
                change(scope, name, EndpointStatus="SystemUpdating")
                begin(scope, name, create)


def shut_down() -> None:
    """End every container, within two seconds; the records stay, for the next server."""
    with _lock:
        lives = list(_lives.values())
        _lives.clear()
    for life in lives:
        life.cancelled.set()
    threads = [threading.Thread(target=life.retire, args=[SHUTDOWN_GRACE_SECONDS], daemon=True) for life in lives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def begin(scope: Scope, name: str, work: Callable[[Scope, str, Life], None]) -> None:
    with _lock:
        life = _lives.setdefault((scope, name), Life())
    in_thread(f"endpoint {name}", lambda: work(scope, name, life))


def in_thread(name: str, work: Callable[[], None]) -> None:
    def run() -> None:
        try:
            work()
        except Exception:
            logger.exception("%s: a bug of local AWS", name)

    threading.Thread(target=run, name=name, daemon=True).start()


def create(scope: Scope, name: str, life: Life) -> None:
    """Also how one comes back: to its last configuration in service."""
    record = find(scope, name)
    try:
        fleet, counts = new_fleet(scope, name, life, record["EndpointConfigName"], record.get("_Desired", {}))
        try:
            fleet.scale(counts)
        except ServingError:
            fleet.retire(SHUTDOWN_GRACE_SECONDS)
            raise
    except ServingError as error:
        conclude(scope, name, life, EndpointStatus="Failed", FailureReason=str(error))
        return
    life.traffic = Traffic(fleet)
    conclude(scope, name, life, EndpointStatus="InService")


def _come_back_from_an_update(scope: Scope, name: str, life: Life) -> None:
    create(scope, name, life)
    if not life.cancelled.is_set() and find(scope, name)["EndpointStatus"] == "InService":
        reason = "local AWS stopped during the update; the configuration before it is in service: update again"
        change(scope, name, FailureReason=reason)


def deploy(
    scope: Scope,
    name: str,
    life: Life,
    config: str,
    desired: Desired,
    policy: Mapping[str, Any],
    kept: Mapping[str, Any],
) -> None:
    """Go over to another configuration; `kept` goes into the record with it. On AWS, too, a failed update ends in
    InService, with the old configuration, and only the reason tells."""
    old = life.traffic.old
    if old is None:  # it had failed: there is nothing to be careful with
        change(scope, name, EndpointConfigName=config, _Desired=desired or None, **kept)
        create(scope, name, life)
        return
    try:
        new, counts = new_fleet(scope, name, life, config, desired)
    except ServingError as error:
        conclude(scope, name, life, EndpointStatus="InService", FailureReason=str(error))
        return
    life.progress = Progress(new, counts)

    def route(share: float) -> None:
        life.traffic = Traffic(old, new, share)

    def rolling_back(reason: str) -> None:
        if not life.cancelled.is_set():
            change(scope, name, EndpointStatus="RollingBack", FailureReason=reason)

    deployment = Deployment(
        scope=scope,
        policy=policy,
        old=old,
        new=new,
        counts=counts,
        cancelled=life.cancelled,
        route=route,
        rolling_back=rolling_back,
        progress=life.progress,
    )
    try:
        deployment.run()
    except RollBackFailedError as error:
        life.progress = None
        conclude(scope, name, life, EndpointStatus="UpdateRollbackFailed", FailureReason=str(error))
        return
    except RollBackError as error:
        life.traffic, life.progress = Traffic(old), None
        conclude(scope, name, life, EndpointStatus="InService", FailureReason=str(error))
        return
    life.traffic, life.progress = Traffic(new), None
    changes = {"EndpointConfigName": config, "_Desired": desired or None, "LastDeploymentConfig": policy, **kept}
    conclude(scope, name, life, EndpointStatus="InService", **changes)
    old.retire()


def scale(scope: Scope, name: str, life: Life, counts: Mapping[str, int], before: Desired | None) -> None:
    """Run so many instances; where they do not come up, as many as before, and the reason tells."""
    assert life.traffic.old is not None, "it is in service"
    try:
        life.traffic.old.scale(counts)
    except ServingError as error:
        change_if_there(scope, name, life, EndpointStatus="RollingBack")
        conclude(scope, name, life, EndpointStatus="InService", FailureReason=str(error), _Desired=before)
    else:
        conclude(scope, name, life, EndpointStatus="InService")


def delete(scope: Scope, name: str) -> None:
    with _lock:
        life = _lives.pop((scope, name), Life())
    life.cancelled.set()

    def end() -> None:
        life.retire(fleets.END_GRACE_SECONDS)
        store.current().delete(scope, KIND, name)

    in_thread(f"delete {name}", end)


def conclude(scope: Scope, name: str, life: Life, **changes: Any) -> None:
    """Write an outcome into the record, unless the endpoint was deleted, or the server ends, meanwhile."""
    if not change_if_there(scope, name, life, **{"FailureReason": None, **changes}):
        life.retire(SHUTDOWN_GRACE_SECONDS)


def change_if_there(scope: Scope, name: str, life: Life, **changes: Any) -> bool:
    with store.current().lock:
        if not life.cancelled.is_set():
            change(scope, name, **changes)
            return True
    return False


def new_fleet(scope: Scope, name: str, life: Life, config: str, desired: Desired) -> tuple[Fleet, dict[str, int]]:
    """A fleet that does not run yet, and how many instances it is to have. Raises ServingError."""
    record = fleets.config_of(scope, config)
    variants: list[Variant] = []
    for settings in record["ProductionVariants"]:
        if "ServerlessConfig" in settings:
            start = _starter(scope, name, settings, life.cancelled)
            variants.append(ServerlessVariant(settings, start, life.cancelled, name))
        else:
            variants.append(InstanceVariant(scope, name, settings, life.cancelled))
    for variant in variants:
        variant.weight = float(desired.get(variant.name, {}).get("DesiredWeight", variant.weight))
    return Fleet(config, variants), counts_of(record, desired)


def _starter(scope: Scope, name: str, settings: Mapping[str, Any], cancelled: threading.Event) -> Callable[[], Server]:
    return lambda: fleets.start_server(scope, name, settings, cancelled)


def counts_of(config: Record, desired: Desired) -> dict[str, int]:
    """How many instances each variant of a configuration has, where `desired` does not say something else."""
    counts = {}
    for settings in config["ProductionVariants"]:
        initial = settings.get("InitialInstanceCount", 1)
        wanted = desired.get(settings["VariantName"], {})
        counts[settings["VariantName"]] = int(wanted.get("DesiredInstanceCount", initial))
    return counts
