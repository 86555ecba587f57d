"""
A provider that remembers every request it was sent, and misbehaves on demand; quick enough not to be what is measured.

    python -m tests.chaos.provider PORT LATENCY_MS KEYED

Every accepted text and every request is a line in its memory: when, to whom and about what, under which ref, with which number.
POST /mode NAME changes its mind: `fine`, `refuse` (503 at once), `hang`, `lose` (accepts, and drops the connection), `slow`.
"""

import asyncio
import json
import random
import re
import sys
import time

import orjson
import uvloop

NUMBER = re.compile(r"#(\d+)|^(\d{6})\b")
ACCEPTED = orjson.dumps(
    {
        "sms_ticket": "sms_1",
        "number_of_contacts": 1,
        "total_cost": 0.05,
        "number_of_sms_needed": 1,
        "residual_credit": 9.5,
    }
)
SEEN = orjson.dumps({"code": 182, "message": "request_id already used"})
AWAY = orjson.dumps({"code": 503, "message": "down"})


class Memory:
    """What was asked, and what was sent."""

    def __init__(self, latency_s: float, keyed: bool) -> None:
        self.latency_s, self.keyed, self.mode = latency_s, keyed, "fine"
        self.requests: list[tuple[float, str, str, int]] = []
        self.texts: list[tuple[float, str, str, int]] = []
        self.seen: set[str] = set()

    def send(self, body: dict) -> tuple[int, bytes] | None:
        """Answer a request; None drops the connection."""
        to, ref = body["recipients"][0]["phone_number"], body["request_id"]
        found = NUMBER.search(body["text"])
        line = (
            time.time(),
            f"{to} {'order' if found and found[1] else 'code'}",
            ref,
            int(found[1] or found[2]) if found else -1,
        )
        self.requests.append(line)
        if self.mode == "refuse":
            return 503, AWAY
        if self.keyed and ref in self.seen:
            return 400, SEEN
        self.seen.add(ref)
        self.texts.append(line)
        return None if self.mode == "lose" else (201, ACCEPTED)


class Connection(asyncio.Protocol):
    """One connection; one request at a time, as HTTP/1.1 clients send them."""

    memory: Memory

    def connection_made(self, transport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].decode("latin-1")
        found = re.search(r"content-length:\s*(\d+)", head, re.IGNORECASE)
        length = int(found[1]) if found else 0
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], b""
        path = head.split(" ", 2)[1]
        if path.endswith("/send"):
            self._later(body)
        else:
            self._control(path, body)

    def _later(self, body: bytes) -> None:
        memory = self.memory
        if memory.mode == "hang":
            memory.send(orjson.loads(body))  # it reaches the provider, and nobody hears of it
            return
        answer = memory.send(orjson.loads(body))
        wait_s = memory.latency_s * random.lognormvariate(0, 0.3) * (10 if memory.mode == "slow" else 1)
        asyncio.get_running_loop().call_later(wait_s, self._answer, answer)

    def _answer(self, answer: tuple[int, bytes] | None) -> None:
        if answer is None:
            self.transport.abort()
            return
        status, body = answer
        self.transport.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )

    def _control(self, path: str, body: bytes) -> None:
        memory = self.memory
        if path == "/mode":
            memory.mode = body.decode()
            self._answer((200, b"{}"))
        elif path == "/count":
            self._answer((200, json.dumps({"requests": len(memory.requests), "texts": len(memory.texts)}).encode()))
        else:
            self._answer((200, orjson.dumps({"requests": memory.requests, "texts": memory.texts})))


async def main(port: int, latency_ms: float, keyed: bool) -> None:
    Connection.memory = Memory(latency_ms / 1000, keyed)
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "keyed"))
