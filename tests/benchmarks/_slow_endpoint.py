"""An endpoint that says the same to everybody after 200 ms, in a process of its own, with next to no work: its port, then silence."""

from __future__ import annotations

import asyncio
import json
import sys

LATENCY_S = 0.2


def main(text: str) -> None:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    body = json.dumps({"object": "chat.completion", "choices": choices, "usage": usage}).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    class Connection(asyncio.Protocol):
        """Counts the bytes of requests and reads none of them."""

        def connection_made(self, transport):
            self.transport, self.head, self.left = transport, b"", None

        def data_received(self, data):
            if self.left is None:
                self.head += data
                end = self.head.find(b"\r\n\r\n")
                if end < 0:
                    return
                length = self.head[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0]
                self.left, data, self.head = int(length), self.head[end + 4 :], b""
            self.left -= len(data)
            if self.left <= 0:
                self.left = None
                asyncio.get_running_loop().call_later(LATENCY_S, self.transport.write, answer)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1])
