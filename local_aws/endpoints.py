"""Endpoints: the life of each, from its creation to its end, with a container that really answers.

The record in the store is the endpoint; a `_Life` is what this process runs of it. A server that starts again brings
back what was in service. An update starts the new containers beside the old, and the old ones answer until the new are
healthy; where those do not come up, the old ones stay.
"""

import logging
import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_aws import identity, resources, serving_container, store
from local_aws.errors import SageMakerError, invalid, not_emulated
from local_aws.listings import page
from local_aws.serving_container import Server, ServingError
from local_aws.settings import current
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

Request = dict[str, Any]

KIND, CONFIG = "endpoint", "endpoint-config"
END_GRACE_SECONDS = 30.0  # what SageMaker gives a serving container between SIGTERM and SIGKILL
SHUTDOWN_GRACE_SECONDS = 2.0
WATCH_SECONDS = 0.5
RESTART_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)  # pauses before a container that died is started again
CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@dataclass
class _Life:
    """What this process runs of an endpoint."""

    servers: list[Server] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)  # it is deleted, or the server ends


_lives: dict[tuple[Scope, str], _Life] = {}
_lock = threading.Lock()


# ---- operations ------------------------------------------------------------------------------------------------------


def create(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["EndpointName"]
    _check_deployment(request)
    resources.find(scope, CONFIG, "endpoint configuration", request["EndpointConfigName"])
    arn, now = scope.arn(f"{KIND}/{name}"), time.time()
    record = {"EndpointName": name, "EndpointArn": arn, "EndpointConfigName": request["EndpointConfigName"]}
    record |= {"EndpointStatus": "Creating", "CreationTime": now, "LastModifiedTime": now}
    with store.current().lock:
        if store.current().get(scope, KIND, name) is not None:
            raise invalid(f'Cannot create already existing endpoint "{arn}".')
        store.current().put(scope, KIND, name, record | {"Tags": request.get("Tags", [])})
    _begin(scope, name, _create)
    return {"EndpointArn": arn}


def describe(scope: Scope, request: Request) -> dict[str, Any]:
    record = find(scope, request["EndpointName"])
    life = _lives.get((scope, request["EndpointName"]))
    described = dict(record)
    if life is not None and life.servers:
        described["ProductionVariants"] = [_variant(record, life, server) for server in life.servers]
    return described


def list_endpoints(scope: Scope, request: Request) -> dict[str, Any]:
    records = store.current().all(scope, KIND)
    return page(records, request, result="Endpoints", name="EndpointName", status="EndpointStatus")


def update(scope: Scope, request: Request) -> dict[str, Any]:
    """Go over to another configuration. The one in the record stays that in service until the new one is."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    _check_deployment(request)
    if request.get("ExcludeRetainedVariantProperties"):
        raise not_emulated("ExcludeRetainedVariantProperties")
    resources.find(scope, CONFIG, "endpoint configuration", config)
    with store.current().lock:
        record = find(scope, name)
        _refuse_while_changing(record)
        if config == record["EndpointConfigName"] and record["EndpointStatus"] == "InService":
            raise invalid(f"Cannot update endpoint {name}: it has the endpoint configuration {config} already.")
        _change(scope, name, EndpointStatus="Updating", FailureReason=None)
    _begin(scope, name, lambda scope, name, life: _update(scope, name, life, config))
    return {"EndpointArn": record["EndpointArn"]}


def update_weights_and_capacities(scope: Scope, request: Request) -> dict[str, Any]:
    """New shares of the requests, from the next one on. The number of instances is kept as a number only."""
    name = request["EndpointName"]
    with store.current().lock:
        record = find(scope, name)
        _refuse_while_changing(record)
        life = _lives.get((scope, name), _Life())
        known = {server.variant for server in life.servers}
        wanted = dict(record.get("_Desired", {}))
        for desired in request["DesiredWeightsAndCapacities"]:
            variant = desired["VariantName"]
            if variant not in known:
                raise invalid(f"Endpoint {name} has no variant {variant}; it has {', '.join(sorted(known))}.")
            wanted[variant] = wanted.get(variant, {}) | desired
        _change(scope, name, _Desired=wanted)
        life.weights.update(_weights(wanted))
    return {"EndpointArn": record["EndpointArn"]}


def delete(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["EndpointName"]
    with store.current().lock:
        record = find(scope, name)
        if record["EndpointStatus"] == "Deleting":
            raise invalid(f'Cannot delete endpoint "{record["EndpointArn"]}": it is being deleted.')
        _change(scope, name, EndpointStatus="Deleting")
        with _lock:
            life = _lives.pop((scope, name), _Life())
        life.cancelled.set()
    _in_thread(f"delete {name}", lambda: _delete(scope, name, life))
    return {}


def find(scope: Scope, name: str) -> Record:
    """The record of an endpoint. Raises SageMakerError where there is none."""
    return resources.find(scope, KIND, "endpoint", name)


def _check_deployment(request: Request) -> None:
    policy = request.get("DeploymentConfig", {})
    routing = policy.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {}).get("Type", "ALL_AT_ONCE")
    if routing != "ALL_AT_ONCE" or "RollingUpdatePolicy" in policy:
        raise not_emulated("A deployment by canary, linear or rolling steps (DeploymentConfig)")


def _refuse_while_changing(record: Record) -> None:
    if record["EndpointStatus"] in CHANGING:
        raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')


def _variant(record: Record, life: _Life, server: Server) -> dict[str, Any]:
    desired = record.get("_Desired", {}).get(server.variant, {})
    weight, count = life.weights[server.variant], desired.get("DesiredInstanceCount", 1)
    return {
        "VariantName": server.variant,
        "DeployedImages": [{"SpecifiedImage": server.image, "ResolvedImage": server.image}],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
    }


# ---- which server answers --------------------------------------------------------------------------------------------


def server_for(scope: Scope, name: str, variant: str | None) -> Server | None:
    """The server that answers the next request, by the variants' weights or by name; None where none can now.

    Raises SageMakerError where the endpoint has no such variant.
    """
    life = _lives.get((scope, name))
    if life is None:
        return None
    servers = life.servers
    if variant is not None:
        servers = [server for server in servers if server.variant == variant]
        if not servers:
            raise SageMakerError("ValidationError", f"Variant {variant} not found for endpoint {name}.")
    alive = [server for server in servers if server.runs()]
    if not alive:
        return None
    weights = [life.weights[server.variant] for server in alive]
    return random.choices(alive, weights if any(weights) else None)[0]  # noqa: S311


# ---- life ------------------------------------------------------------------------------------------------------------


def restore() -> None:
    """Bring back what an earlier server had in service, and finish what it had begun. In threads: it takes seconds."""
    shutil.rmtree(current().endpoints, ignore_errors=True)
    for scope, name, record in store.current().everywhere(KIND):
        match record["EndpointStatus"]:
            case "Creating":
                _begin(scope, name, _create)
            case "Deleting":
                store.current().delete(scope, KIND, name)
            case "Updating":
                _change(scope, name, EndpointStatus="SystemUpdating")
                _begin(scope, name, _come_back_from_an_update)
            case "InService" | "SystemUpdating":
                _change(scope, name, EndpointStatus="SystemUpdating")
                _begin(scope, name, _create)


def shut_down() -> None:
    """End every container, within two seconds; the records stay, for the next server."""
    with _lock:
        lives = list(_lives.values())
        _lives.clear()
    for life in lives:
        life.cancelled.set()
    _end([server for life in lives for server in life.servers], SHUTDOWN_GRACE_SECONDS)


def _begin(scope: Scope, name: str, work: Callable[[Scope, str, _Life], None]) -> None:
    with _lock:
        life = _lives.setdefault((scope, name), _Life())
    _in_thread(f"endpoint {name}", lambda: work(scope, name, life))


def _in_thread(name: str, work: Callable[[], None]) -> None:
    def run() -> None:
        try:
            work()
        except Exception:
            logger.exception("%s: a bug of local AWS", name)

    threading.Thread(target=run, name=name, daemon=True).start()


def _create(scope: Scope, name: str, life: _Life) -> None:
    """Also how one comes back: to its last configuration in service."""
    try:
        _put_in_service(scope, name, life, find(scope, name)["EndpointConfigName"])
    except ServingError as error:
        _conclude(scope, name, life, EndpointStatus="Failed", FailureReason=str(error))


def _update(scope: Scope, name: str, life: _Life, config: str) -> None:
    try:
        _put_in_service(scope, name, life, config)
    except ServingError as error:
        # On AWS, too, the endpoint is InService again, and only the reason tells.
        status = "InService" if life.servers else "Failed"
        _conclude(scope, name, life, EndpointStatus=status, FailureReason=str(error))


def _come_back_from_an_update(scope: Scope, name: str, life: _Life) -> None:
    _create(scope, name, life)
    if not life.cancelled.is_set() and find(scope, name)["EndpointStatus"] == "InService":
        reason = "local AWS stopped during the update; the configuration before it is in service: update again"
        _change(scope, name, FailureReason=reason)


def _put_in_service(scope: Scope, name: str, life: _Life, config: str) -> None:
    """Start a configuration's containers, let them answer, end those before. Raises ServingError: all is as before."""
    record = find(scope, name)
    desired = record.get("_Desired", {}) if config == record["EndpointConfigName"] else {}
    servers = _start_all(scope, name, config, life.cancelled)
    before, life.weights = life.servers, {server.variant: server.weight for server in servers} | _weights(desired)
    life.servers = servers
    _conclude(scope, name, life, EndpointStatus="InService", EndpointConfigName=config, _Desired=desired or None)
    _in_thread(f"watch {name}", lambda: _watch(scope, name, life, servers, config))
    _end(before, END_GRACE_SECONDS)


def _conclude(scope: Scope, name: str, life: _Life, **changes: Any) -> None:
    """Write an outcome into the record, unless the endpoint was deleted, or the server ends, meanwhile."""
    with store.current().lock:
        if not life.cancelled.is_set():
            _change(scope, name, **changes)
            return
    _end(life.servers, SHUTDOWN_GRACE_SECONDS)


def _start_all(scope: Scope, name: str, config: str, cancelled: threading.Event) -> list[Server]:
    """A server for each variant of a configuration, or none. Raises ServingError."""
    servers: list[Server] = []
    try:
        for variant in _variants(scope, config):
            servers.append(_start(scope, name, variant, cancelled))
    except ServingError:
        _end(servers, SHUTDOWN_GRACE_SECONDS)
        raise
    return servers


def _variants(scope: Scope, config: str) -> list[dict[str, Any]]:
    try:
        variants: list[dict[str, Any]] = resources.find(scope, CONFIG, "endpoint configuration", config)[
            "ProductionVariants"
        ]
    except SageMakerError as error:  # deleted meanwhile
        raise ServingError(str(error)) from error
    return variants


def _start(scope: Scope, name: str, variant: dict[str, Any], cancelled: threading.Event) -> Server:
    try:
        model = resources.find(scope, "model", "model", variant["ModelName"])
        container = resources.container_of(scope, model)
        with identity.acting_as(model.get("ExecutionRoleArn")):
            isolated = model["EnableNetworkIsolation"]
            return serving_container.start(scope, name, variant, container, isolated, cancelled)
    except SageMakerError as error:  # the model or its role is gone, or its package is no longer approved
        raise ServingError(str(error)) from error


def _watch(scope: Scope, name: str, life: _Life, servers: list[Server], config: str) -> None:
    """While `servers` are those of the endpoint, start again any that died: an instance that is lost is replaced."""
    deaths = 0
    while not life.cancelled.wait(WATCH_SECONDS) and life.servers is servers:
        for number, server in enumerate(servers):
            if server.runs():
                continue
            pause = RESTART_SECONDS[min(deaths, len(RESTART_SECONDS) - 1)]
            deaths += 1
            logger.warning("endpoint %s: %s died; starting it again in %g s", name, server.log_stream, pause)
            if life.cancelled.wait(pause):
                return
            try:
                variants = {variant["VariantName"]: variant for variant in _variants(scope, config)}
                again = _start(scope, name, variants[server.variant], life.cancelled)
            except ServingError as error:
                logger.warning("endpoint %s: %s", name, error)
                continue
            server.end(grace_seconds=0)
            servers[number] = again
            if life.cancelled.is_set():  # and whoever cancelled did not see the new one
                again.end(SHUTDOWN_GRACE_SECONDS)


def _delete(scope: Scope, name: str, life: _Life) -> None:
    _end(life.servers, END_GRACE_SECONDS)
    store.current().delete(scope, KIND, name)


def _end(servers: Sequence[Server], grace_seconds: float) -> None:
    """All at once, so that it takes as long as the slowest."""
    threads = [threading.Thread(target=server.end, args=[grace_seconds], daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _weights(desired: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: float(each["DesiredWeight"]) for name, each in desired.items() if "DesiredWeight" in each}


def _change(scope: Scope, name: str, **changes: Any) -> None:
    store.current().change(scope, KIND, name, LastModifiedTime=time.time(), **changes)


OPERATIONS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": describe,
    "ListEndpoints": list_endpoints,
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": update_weights_and_capacities,
    "DeleteEndpoint": delete,
}
