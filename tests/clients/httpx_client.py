"""A client of a node: httpx with HTTP/2. Arguments: the node's URL, and the file of its authority."""

import asyncio
import ssl
import sys

import httpx


async def main(url: str, authority: str) -> None:
    context = ssl.create_default_context(cafile=authority)
    async with httpx.AsyncClient(http2=True, verify=context, timeout=60) as client:
        reply = await client.get(f"{url}/hello/")
        assert (reply.http_version, reply.text) == ("HTTP/2", "Hello, world!"), reply

        # It sends all of a body before it reads any of the reply.
        body = bytes(range(256)) * 64
        replies = await asyncio.gather(
            *(client.post(f"{url}/echo/", content=body) for _ in range(50))
        )
        assert all(reply.content == body for reply in replies)

        async def pieces():
            for _ in range(20):
                yield body

        # Of a length that is not known.
        async def pieces():
            for _ in range(500):
                yield body

        reply = await client.post(f"{url}/server/count", content=pieces())
        assert reply.json()["bytes"] == 500 * len(body), reply.text

        # What is not read is reset, and nothing else suffers.
        async with client.stream("GET", f"{url}/server/stream?mib=16") as reply:
            async for _ in reply.aiter_raw():
                break
        reply = await client.get(f"{url}/missing/")
        assert reply.status_code == 404, reply
        assert len(reply.json()["invocation_id"]) == 36
    print("all is well")


asyncio.run(main(*sys.argv[1:]))
