"""ask_server.py URL CLICK_FILE: waits until the server is ready, and prints its answer to the click.

It runs where the test itself is not: in another network.
"""

import pathlib
import sys
import time
import urllib.error
import urllib.request

READY_SECONDS = 600
CLICK_SECONDS = 120


def wait(url):
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return urllib.request.urlopen(f"{url}/ready", timeout=5).read()
        except urllib.error.URLError as problem:
            if time.monotonic() > deadline:
                sys.exit(f"not ready after {READY_SECONDS} s: {problem}")
            time.sleep(0.5)


def main():
    url, click = sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes()
    wait(url)
    request = urllib.request.Request(f"{url}/predict", click, {"Content-Type": "application/json"})
    sys.stdout.write(urllib.request.urlopen(request, timeout=CLICK_SECONDS).read().decode())


if __name__ == "__main__":
    main()
