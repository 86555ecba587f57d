"""
A provider that answers every send after its latency, in as few instructions as Python allows.

The latency is log-normal about its median, and one answer in a hundred takes ten times as long: what real ones do.

    python -m tests.bench.double PORT LATENCY_MS

It remembers each request: when it came, when it was answered, for whom, and the number in its text. GET /all tells.
"""

import asyncio
import random
import re
import sys
import time
from typing import ClassVar

import orjson
import uvloop

BODY = b'{"sms_ticket":"sms_5fec89fe97109","number_of_contacts":1,"total_cost":0.05,"number_of_sms_needed":1,"residual_credit":99.5}'
ANSWER = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


NUMBER = re.compile(rb"#e?-?(\d+)|\b(\d{6})\b")
PHONE = re.compile(rb'"phone_number":\s*"([^"]+)"')


def told(came: float, answered: float, body: bytes) -> tuple[float, float, str, int]:
    """Return a request as it is told: times in seconds since 1970, whom it was for, the number in its text or -1."""
    phone, text = PHONE.search(body), body[body.find(b'"text"') :]
    number = NUMBER.search(text)
    return came, answered, phone[1].decode() if phone else "", int(number[1] or number[2]) if number else -1


class Double(asyncio.Protocol):
    """One connection; one request at a time, as HTTP/1.1 clients send them."""

    latency_s = 0.0
    remembered: ClassVar[list[tuple[float, float, bytes]]] = []

    def connection_made(self, transport) -> None:
        self.transport, self.buffer = transport, b""
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            start = head.find(b"content-length:")
            length = (
                int(head[start + 15 : head.find(b"\r\n", start) if head.find(b"\r\n", start) > 0 else None])
                if start >= 0
                else 0
            )
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if head.startswith(b"get "):
                self.tell(b"/all" in head)
                continue
            slow = 10 if random.random() < 0.01 else 1
            latency_s = self.latency_s * slow * random.lognormvariate(0, 0.3)
            self.remembered.append((now := time.time(), now + latency_s, body))
            self.loop.call_later(latency_s, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)

    def tell(self, everything: bool) -> None:
        rows = [told(*one) for one in self.remembered] if everything else len(self.remembered)
        answer = orjson.dumps(rows)
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))


async def main(port: int, latency_ms: float) -> None:
    Double.latency_s = latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(Double, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
