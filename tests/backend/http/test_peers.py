"""Servers that share the images: the clicks on an image go to one of them, and none is lost where that one is away."""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import contextlib
import dataclasses
import socket
import threading

import pytest
import requests

from backend.http.peers import rank_peers
from backend.settings import load_settings
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.types import State
from tests.backend.conftest import DiscSegmenter
from tests.backend.http.conftest import RunningWorker

PASSWORD = "open-sesame"
CREDENTIALS = ("studio", PASSWORD)
NAMES = [f"m2n2-{number}.m2n2-peers:9090" for number in range(3)]


@dataclasses.dataclass
class Server:
    """One of the servers, and what its engine was asked."""

    name: str
    engine: DiscSegmenter
    worker: RunningWorker | None

    def post(self, path, body, **options):
        return requests.post(f"http://{self.name}{path}", json=body, timeout=60, **options)

    def read(self, metric):
        lines = requests.get(f"http://{self.name}/metrics", auth=CREDENTIALS, timeout=60).text.splitlines()
        (line,) = (line for line in lines if line.startswith(f"{metric} "))
        return float(line.rpartition(" ")[2])

    def end(self):
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.end()


@pytest.fixture
def start(tmp_path):
    """Starts two servers that share the images; others: names of what is there in the place of one."""
    with contextlib.ExitStack() as stack:

        def make(*others, **settings):
            listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 - len(others))]
            names = ["{}:{}".format(*listener.getsockname()) for listener in listeners]
            servers = []
            for name, listener in zip(names, listeners, strict=True):
                own = {
                    "M2N2_PEERS": ",".join([*names, *others]),
                    "M2N2_OWN_PEER": name,
                    "M2N2_PREPARE_AHEAD": "0",
                    "M2N2_DISK_CACHE_FOLDER": str(tmp_path / name.replace(":", "-")),
                }
                engine = DiscSegmenter()
                server = Server(name, engine, RunningWorker(engine, {**own, **settings}, listener))
                server.worker.start()
                stack.callback(server.end)
                servers.append(server)
            return servers

        yield make


@pytest.fixture
def make_click(recorded, make_png):
    """A click of Label Studio's on the image of a task."""
    reference = f"data:image/png;base64,{base64.b64encode(make_png()).decode()}"

    def make(task_id):
        body = recorded("predict_interactive_1_points")
        body["tasks"][0].update(id=task_id, data={"image": reference})
        return body

    return make


def find_tasks(servers):
    """One task of each server."""
    names = [server.name for server in servers]
    return [next(n for n in range(1, 1000) if rank_peers(names, f"task {n}")[0] == name) for name in names]


def regions(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]["result"]


def test_the_clicks_on_an_image_go_to_one_server_whichever_is_asked(start, make_click):
    first, second = servers = start()
    own, others = find_tasks(servers)
    answers = [[regions(server.post("/predict", make_click(task))) for server in servers] for task in (own, others)]
    assert all(one and one == other for (one,), (other,) in answers for one, other in [(one["value"], other["value"])])
    assert len(first.engine.asked) == len(second.engine.asked) == 2
    assert len(first.engine.prepared) == len(second.engine.prepared) == 1


def test_images_are_spread_evenly_and_move_only_where_a_server_is_missing():
    keys = [f"task {number}" for number in range(3000)]
    owners = {key: rank_peers(NAMES, key)[0] for key in keys}
    assert all(800 < count < 1200 for count in collections.Counter(owners.values()).values())
    assert owners == {key: rank_peers(NAMES[::-1], key)[0] for key in keys}
    left = {key: rank_peers(NAMES[:2], key)[0] for key in keys}
    assert all(left[key] == owner for key, owner in owners.items() if owner != NAMES[2])


def test_what_a_server_refuses_is_told_by_the_one_that_was_asked(start, make_click):
    servers = start()
    _, task = find_tasks(servers)
    body = make_click(task)
    body["tasks"][0]["data"]["image"] = "http://127.0.0.1:9/not-allowed.png"
    answers = [server.post("/predict", body, headers={"X-Request-ID": "one"}) for server in servers]
    assert [answer.status_code for answer in answers] == [403, 403]
    # By its id both logs can be searched for it.
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["error"]["request_id"] == "one"


def test_cvat_s_frames_have_a_server_too(start, make_png):
    servers = start(M2N2_CVAT_ANSWER="shapes")
    for width in range(300, 312):
        body = {"image": base64.b64encode(make_png(width, 200)).decode(), "pos_points": [[50, 60]], "neg_points": []}
        named = {"x-nuclio-function-name": "m2n2"}
        for path in ("/cvat/", "/cvat/api/function_invocations"):
            answers = [server.post(path, body, headers=named) for server in servers]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert answers[0].json() == answers[1].json()
            assert {answer.headers.get("Content-Encoding") for answer in answers} == {"gzip"}
    prepared = [server.engine.prepared for server in servers]
    assert sum(map(len, prepared)) == 12
    assert all(prepared)


def test_cvat_s_user_reads_the_reason_in_the_status_line(start):
    servers = start()
    bodies = [{"image": base64.b64encode(bytes([number])).decode(), "pos_points": [[5, 6]]} for number in range(8)]
    reasons = {server.post("/cvat/", body).reason for body in bodies for server in servers}
    assert len(reasons) == 1
    assert "image" in reasons.pop()


def test_a_click_is_counted_where_it_is_answered(start, make_click):
    first, second = servers = start()
    _, task = find_tasks(servers)
    regions(first.post("/predict", make_click(task)))
    masks = 'm2n2_clicks_total{outcome="mask",platform="label_studio"}'
    assert (first.read(masks), second.read(masks)) == (0, 1)
    assert first.read('m2n2_forwarded_total{result="answered"}') == 1
    assert first.read('m2n2_request_seconds_count{kind="forwarded",path="/predict"}') == 1


def test_a_server_that_is_gone_loses_no_click(start, make_click):
    first, second = servers = start()
    _, task = find_tasks(servers)
    second.end()
    assert regions(first.post("/predict", make_click(task)))
    assert regions(first.post("/predict", make_click(task)))
    assert len(first.engine.asked) == 2
    # It is not asked again at once.
    assert first.read('m2n2_forwarded_total{result="unreachable"}') == 1


def test_a_server_that_falls_silent_loses_no_click(start, make_click):
    first, second = servers = start(M2N2_ANSWER_TIMEOUT_SECONDS="4")
    _, task = find_tasks(servers)
    answered = threading.Event()
    second.engine.before_prepare = lambda picture: answered.wait(60)
    try:
        assert regions(first.post("/predict", make_click(task)))
    finally:
        answered.set()
    assert len(first.engine.asked) == 1


def test_a_server_that_is_killed_in_the_middle_of_a_click_loses_none(start, make_click, make_raw_server):
    def break_off(connection, closing):
        connection.recv(1000)

    raw = make_raw_server(break_off)
    (first,) = start(f"127.0.0.1:{raw.port}")
    names = [first.name, f"127.0.0.1:{raw.port}"]
    task = next(number for number in range(1, 1000) if rank_peers(names, f"task {number}")[0] == names[1])
    assert regions(first.post("/predict", make_click(task)))
    assert first.read('m2n2_forwarded_total{result="unreachable"}') == 1


def test_a_restart_of_one_server_loses_no_click(start, make_click):
    """Clicks on images of both come to the first, as a Service sends them while the second one ends."""
    first, second = servers = start()
    names = [server.name for server in servers]
    owned = [[task for task in range(1, 1000) if rank_peers(names, f"task {task}")[0] == name] for name in names]
    # One of the one, one of the other; each task once, for a newer click on an object overtakes the one before.
    tasks = [task for pair in zip(*owned, strict=False) for task in pair][:40]
    answered = threading.Semaphore(0)

    def click(task):
        answer = first.post("/predict", make_click(task))
        answered.release()
        return answer

    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(click, task) for task in tasks]
        for _ in range(10):
            assert answered.acquire(timeout=60)
        second.end()
        assert all(regions(answer.result()) for answer in answers)
    assert len(first.engine.asked) + len(second.engine.asked) == 40
    assert second.engine.asked


def test_a_server_that_is_not_ready_gives_the_click_back_at_once(start, make_click):
    first, second = servers = start()
    _, task = find_tasks(servers)
    second.engine.told = dataclasses.replace(second.engine.told, state=State.LOADING)
    assert regions(first.post("/predict", make_click(task)))
    assert (len(first.engine.asked), len(second.engine.asked)) == (1, 0)
    assert first.read('m2n2_forwarded_total{result="unavailable"}') == 1
    # It was no click that failed.
    assert second.read('m2n2_clicks_total{outcome="failed",platform="label_studio"}') == 0
    second.engine.told = dataclasses.replace(second.engine.told, state=State.READY)
    assert regions(first.post("/predict", make_click(task)))
    assert (len(first.engine.asked), len(second.engine.asked)) == (1, 1)


def test_a_request_is_passed_on_once(start, make_click):
    first, second = servers = start()
    _, task = find_tasks(servers)
    marked = {"X-M2N2-Forwarded-By": second.name}
    assert regions(first.post("/predict", make_click(task), headers=marked))
    assert (len(first.engine.asked), len(second.engine.asked)) == (1, 0)


def test_the_password_is_asked_for_at_both(start, make_click):
    first, second = servers = start(M2N2_BASIC_AUTH_USER="studio", M2N2_BASIC_AUTH_PASSWORD=PASSWORD)
    _, task = find_tasks(servers)
    assert first.post("/predict", make_click(task)).status_code == 401
    assert not second.engine.asked
    assert regions(first.post("/predict", make_click(task), auth=CREDENTIALS))
    assert len(second.engine.asked) == 1


def test_an_opened_task_is_prepared_where_its_clicks_will_be_answered(start, make_click):
    first, second = servers = start(M2N2_PREPARE_AHEAD="8")
    _, task = find_tasks(servers)
    prepared = threading.Event()
    second.engine.before_prepare = lambda picture: prepared.set()
    body = make_click(task)
    opened = {"tasks": body["tasks"], "label_config": body["label_config"]}
    assert first.post("/predict", opened).json() == {"results": [[]]}
    assert prepared.wait(60)
    assert not first.engine.prepared


def test_requests_about_no_single_task_are_answered_by_whoever_is_asked(start, make_click):
    servers = start()
    batch = {"tasks": [make_click(number)["tasks"][0] for number in range(1, 9)], "label_config": ""}
    for server in servers:
        answer = server.post("/predict", batch)
        assert answer.json() == {"results": [[] for _ in range(8)]}
        assert server.read('m2n2_forwarded_total{result="answered"}') == 0


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"M2N2_PEERS": "a:1,b:1"}, "M2N2_OWN_PEER cannot be used: should be one of M2N2_PEERS: a:1, b:1"),
        ({"M2N2_PEERS": "a:1,b:1", "M2N2_OWN_PEER": "c:1"}, "M2N2_OWN_PEER='c:1' cannot be used: should be one of"),
        ({"M2N2_OWN_PEER": "a:1"}, "M2N2_OWN_PEER='a:1' cannot be used: should be one of M2N2_PEERS: which is unset"),
        ({"M2N2_PEERS": "a,b:1"}, "M2N2_PEERS='a,b:1' cannot be used: a should be a host and a port like"),
        ({"M2N2_PEERS": "*.a:1,b:1"}, "M2N2_PEERS='*.a:1,b:1' cannot be used: *.a:1 should be a host and a port"),
        ({"M2N2_PEERS": "a:1"}, "M2N2_PEERS='a:1' cannot be used: should name all servers"),
        ({"M2N2_PEERS": "a:1,a:1"}, "M2N2_PEERS='a:1,a:1' cannot be used: should name all servers"),
    ],
)
def test_peers_that_cannot_be_are_named(environ, problem):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ)
    assert str(caught.value).startswith(problem)
