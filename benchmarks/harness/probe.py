"""Poll one route of a server from a separate process, and report the time of each answer.

`python -m benchmarks.harness.probe PORT PATH KEY INTERVAL` polls until standard input closes and
then prints one JSON list of seconds.
"""

import http.client
import json
import sys
import threading
import time


def main() -> None:
    """Poll over one connection. A late answer delays the next poll."""
    port, path, key, interval = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
    stop = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    while not stop.wait(interval):
        begun = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"token {key}"})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise SystemExit(f"{path} answered {response.status}")
        times.append(time.perf_counter() - begun)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
