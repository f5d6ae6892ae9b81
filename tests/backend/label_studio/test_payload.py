"""Bodies as scripts, exports and other versions of Label Studio write them: null where nothing is."""

from __future__ import annotations

import pytest

from tests.helpers.label_studio.requests import ask, points_of


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["tasks"][0].update(drafts=None),
        lambda body: body["tasks"][0].update(drafts=[{"id": 1, "result": None}]),
        lambda body: body["tasks"][0].update(annotations=None, predictions=None, meta=None),
        lambda body: body.update(project=None),
        lambda body: points_of(body)[0].update(image_rotation=None, id=None, is_positive=None),
    ],
)
def test_null_in_a_click_is_what_is_not_there(client, interactive, segmenter, change):
    body = interactive(1)
    change(body)
    (prediction,) = ask(client, body)["results"]
    assert len(prediction["result"]) == len(segmenter.asked) == 1


@pytest.mark.parametrize("params", [None, {}, {"context": None}, {"login": None, "password": None}])
def test_without_params_a_request_is_a_batch(client, interactive, segmenter, params):
    body = interactive(1)
    body.update(params=params, label_config=None)
    assert ask(client, body) == {"results": [[]]}
    assert segmenter.asked == []


@pytest.mark.parametrize("spoil", [lambda task: task.update(data=None), lambda task: task.pop("data")])
def test_one_task_of_many_without_data_costs_the_others_nothing(client, recorded, spoil):
    body = recorded("predict_batch_2_tasks")
    spoil(body["tasks"][0])
    assert ask(client, body) == {"results": [[], []]}


def test_a_click_on_a_task_without_data_is_told_what_is_missing(client, interactive):
    body = interactive(1)
    body["tasks"][0]["data"] = None
    response = client.post("/predict", json=body)
    assert response.status_code == 400
    assert "'image'" in response.json["error"]["message"]


def test_a_null_configuration_of_setup_is_none(client, recorded):
    body = {**recorded("setup_request"), "schema": None}
    assert client.post("/setup", json=body).status_code == 200
