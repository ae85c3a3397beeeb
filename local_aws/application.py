"""ministack with our parts in it, served until SIGTERM. Imported by `host` once ministack's environment is set."""

import asyncio
import functools
import json
import logging
import os
import signal
import threading
import time
from typing import Any, NoReturn

import ministack.app
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from local_aws import (
    alarms,
    api,
    build_requests,
    builds,
    cloudformation,
    drift,
    identity_providers,
    interrupted_stacks,
    lifecycle,
    networks,
    recorded_types,
    s3_buckets,
    scaling,
    scaling_types,
    schedules,
)
from local_aws.ministack_hooks import ecr, existing
from local_aws.ministack_hooks.cloudformation import bound_roles, join_in_conditions, run_in_threads
from local_aws.ministack_hooks.codebuild import refuse_builds, run_builds
from local_aws.ministack_hooks.requests import route_application_auto_scaling, route_sagemaker
from local_aws.ministack_hooks.services import encrypt_with_the_buckets_key, end_functions, miss_images
from local_aws.persistence import Saver, complete
from local_aws.settings import HOST, WHO_PATH, Settings

SETTLE_SECONDS = 60.0
STOP_SECONDS = 8.0  # of the ten that `server.stop` waits
GRACE_SECONDS = 1.0  # for requests that are being answered when all else has ended


def run(ours: Settings) -> int:
    """Serve until SIGTERM, and end this process with 0."""
    logging.getLogger("local_aws").setLevel(logging.INFO)
    run_in_threads()
    join_in_conditions()
    bound_roles()
    encrypt_with_the_buckets_key()
    s3_buckets.install()
    alarms.install()
    route_sagemaker(api.handle)
    route_application_auto_scaling(scaling.handle)
    cloudformation.install()
    scaling_types.install()
    recorded_types.install()
    networks.install()
    existing.refuse_second_repositories()
    existing.attach_to_those_who_are_there()
    existing.let_import("AWS::ECR::Repository", "RepositoryName", existing.repository)
    drift.install()
    identity_providers.install()
    miss_images()
    ecr.keep_layers(ours.endpoint_url)
    run_builds(builds.carry_out)
    refuse_builds(build_requests.check)
    schedules.install()
    if ours.strict:
        from local_aws import strict  # it loads more of ministack: for those who asked for it

        strict.install(ours)
    lifecycle.on_start.append(functools.partial(api.restore, ours))
    lifecycle.on_stop.append(api.shutdown)
    lifecycle.on_stop.append(end_functions)
    complete(ours.state)
    asyncio.run(_serve(ours))
    return 0  # not reached: _serve ends the process


async def _serve(ours: Settings) -> None:
    config = Config()
    config.bind = [f"{HOST}:{ours.port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = GRACE_SECONDS
    config.loglevel = "WARNING"
    if ours.strict:  # on this port and no other: ministack's own main would open 443 too
        config.certfile, config.keyfile = str(ours.certificate), str(ours.certificate_key)

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_tell_of)
    saver = Saver(ours.state, loop)
    interrupted_stacks.install(saver.save_now)
    stopped, ready = asyncio.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _begin_to_stop, loop, stopped, saver)
    lifecycle.on_start.append(alarms.Clock(loop).start)
    opening = loop.create_task(_open(ours, saver, ready))
    await hypercorn_serve(_with_identity(ministack.app.app, ours, ready, saver), config, shutdown_trigger=stopped.wait)
    opening.cancel()
    _end(saver)


async def _open(ours: Settings, saver: Saver, ready: threading.Event) -> None:
    """Once the port answers, start what needs it, and only then say that the server is ready."""
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, ours.port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    writer.close()
    await asyncio.to_thread(lifecycle.call, lifecycle.on_start)
    saver.start()
    # An endpoint that goes back by steps may take its time: `server.start` waits for us no longer than 90 seconds.
    settling = asyncio.create_task(interrupted_stacks.settle())
    await asyncio.wait({settling}, timeout=SETTLE_SECONDS)
    ready.set()
    await settling


def _tell_of(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody caught; but not that a client of https went without a good-bye, which is its own affair."""
    if not (isinstance(context.get("exception"), TimeoutError) and "SSL shutdown" in str(context["exception"])):
        loop.default_exception_handler(context)


def _begin_to_stop(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event, saver: Saver) -> None:
    """While the port still answers, end what needs it; then close the port. Whatever hangs, end in time."""

    def stop() -> None:
        lifecycle.call(lifecycle.on_stop)
        loop.call_soon_threadsafe(stopped.set)
        time.sleep(GRACE_SECONDS + 0.5)  # requests have had their time; https would wait on for idle clients' good-bye
        _end(saver)

    threading.Thread(target=stop, name="stop", daemon=True).start()
    deadline = threading.Timer(STOP_SECONDS, _end, [saver])
    deadline.daemon = True
    deadline.start()


def _end(saver: Saver) -> NoReturn:
    """The last save, and the end, without waiting: a thread in a custom resource's wait would hold us for an hour."""
    try:
        saver.finish()
        logging.shutdown()
    finally:
        os._exit(0)


def _with_identity(app: Any, ours: Settings, ready: threading.Event, saver: Saver) -> Any:
    """ministack's application, which also says whose server it is: 200 once it is ready, 503 before; hands out layers
    of images; and is saved."""
    identity = json.dumps({"folder": str(ours.folder), "pid": os.getpid()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(identity)).encode())]

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == WHO_PATH:
            await send({"type": "http.response.start", "status": 200 if ready.is_set() else 503, "headers": headers})
            await send({"type": "http.response.body", "body": identity})
        elif scope["type"] == "http" and scope["path"].startswith(ecr.LAYER_PATH):
            content = ecr.layer_at(scope["path"])
            status, body = (404, b"") if content is None else (200, content)
            length = [(b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": length})
            await send({"type": "http.response.body", "body": body})
        else:
            await app(scope, receive, send)
            if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
                saver.something_changed()

    return answer
