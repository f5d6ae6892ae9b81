"""A container of the image, as the tests ask it."""

from __future__ import annotations

import socket
import time

import numpy as np
import requests

from backend.label_studio import brush_rle

IMAGE = "localhost/m2n2:cpu"
READY_SECONDS = 600
ANSWER_SECONDS = 100
HEIGHT, WIDTH = 480, 640
BOX = np.s_[150:232, 120:310]
"""Of the picture of the fixture ``click``: what is under the point."""


class Container:
    """A container of an image that listens on a free port of this machine."""

    def __init__(self, podman, *options, image=IMAGE):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.podman = podman
        settings = [f"--env=M2N2_PORT={self.port}", "--env=M2N2_HOST=127.0.0.1"]
        self.id = podman.start(image, *settings, *options)

    def ask(self, path, body=None, seconds=ANSWER_SECONDS):
        method = "GET" if body is None else "POST"
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", json=body, timeout=seconds)

    def wait_until_ready(self):
        """Seconds that it took."""
        started = time.monotonic()
        while not self._is_ready():
            waited = time.monotonic() - started
            assert waited < READY_SECONDS, self.podman("logs", self.id)
            assert self.podman.inspect("container", self.id)["State"]["Running"], self.podman("logs", self.id)
            time.sleep(0.5)
        return time.monotonic() - started

    def _is_ready(self):
        try:
            return self.ask("/ready").status_code == 200
        except requests.ConnectionError:
            return False

    def find_new_kernels(self):
        """Those compiled since the container was started, one a line."""
        started = self.podman.inspect("container", self.id)["State"]["StartedAt"]
        return self.run(f"find /cache/kernels -name '*.nbc' -newermt '{started}'")

    def measure_memory(self):
        """Bytes of all its processes; what several share is shared out among them."""
        rollups = self.run("cat /proc/[0-9]*/smaps_rollup 2>/dev/null || true")
        return 1024 * sum(int(line.split()[1]) for line in rollups.splitlines() if line.startswith("Pss:"))

    def run(self, command):
        return self.podman("exec", self.id, "sh", "-c", command)


def measure_overlap(answer):
    """Of the mask in an answer to Label Studio with the box, 0 to 1."""
    return measure_prediction(answer.json())


def measure_prediction(body):
    """The same for the answer's body."""
    (prediction,) = body["results"]
    return overlap_with_box(brush_rle.decode(prediction["result"][0]["value"]["rle"], (HEIGHT, WIDTH)))


def overlap_with_box(mask):
    """Intersection over union of a bool mask of the picture with the box."""
    box = np.zeros_like(mask)
    box[BOX] = True
    return (mask & box).sum() / (mask | box).sum()
