"""Calls of ministack's application in this process, without a server."""

import asyncio
import json

import httpx

SIGNED = "AWS4-HMAC-SHA256 Credential=222222222222/20260101/eu-west-1/{}/aws4_request, SignedHeaders=host, Signature=0"


def request(app, service, path, content=b"", **headers):
    async def call():
        transport = httpx.ASGITransport(app=app.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(
                path, content=content, headers={"authorization": SIGNED.format(service), **headers}
            )

    return asyncio.run(call())


def call_cloudformation(app, action, *, review_is_an_end=False, **parameters):
    """A call of CloudFormation's query API, and time for the stack to be worked on."""

    async def call():
        transport = httpx.ASGITransport(app=app.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"authorization": SIGNED.format("cloudformation")}
            await client.post("/", data={"Action": action, **parameters}, headers=headers)
            for _ in range(200):
                await asyncio.sleep(0.01)
                found = await client.post("/", data={"Action": "DescribeStacks"}, headers=headers)
                seen = found.text.replace("REVIEW_IN_PROGRESS", "") if review_is_an_end else found.text
                if "IN_PROGRESS" not in seen:
                    return found.text
            raise AssertionError(found.text)

    return asyncio.run(call())


def template(kind, **properties):
    return json.dumps({"Resources": {"Thing": {"Type": kind, "Properties": properties}}})
