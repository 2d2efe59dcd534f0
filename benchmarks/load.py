"""A light load generator: keep-alive HTTP/1.1 clients in one asyncio loop."""

import asyncio
import json
import sys
import time


async def client(host, port, requests, stop, latencies, statuses):
    """Send prepared requests one after the other until the time is over."""
    reader, writer = await asyncio.open_connection(host, port)
    number = 0
    while time.perf_counter() < stop:
        started = time.perf_counter()
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
        status = head[9:12].decode()
        statuses[status] = statuses.get(status, 0) + 1
        number += 1
    writer.close()


async def load(port, clients, seconds, bodies, path="/invocations"):
    """Return requests per second, latencies' percentiles (ms) and statuses."""
    requests = [
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        for body in bodies
    ]
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    started = time.perf_counter()
    stop = started + seconds
    shifted = [requests[i:] + requests[:i] for i in range(clients)]
    await asyncio.gather(
        *(client("127.0.0.1", port, s, stop, latencies, statuses) for s in shifted)
    )
    taken = time.perf_counter() - started
    latencies.sort()
    return {
        "rate": len(latencies) / taken,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[int(len(latencies) * 0.99)] * 1e3,
        "statuses": statuses,
    }


if __name__ == "__main__":
    port, clients, seconds, bodies = sys.argv[1:]
    with open(bodies) as file:
        prepared = [line.strip() for line in file]
    print(
        json.dumps(asyncio.run(load(int(port), int(clients), float(seconds), prepared)))
    )
