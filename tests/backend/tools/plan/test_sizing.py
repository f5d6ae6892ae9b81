from __future__ import annotations

import dataclasses

import pytest

from backend.tools.plan.annotators import Workload, draw_visits
from backend.tools.plan.simulation import Cluster, simulate
from backend.tools.plan.sizing import Question, find_replicas, measure_percentile
from m2n2_engine.errors import ConfigurationError


@pytest.fixture
def question(make_times, roomy):
    times = make_times(PREPARATION=[1.0], FIRST_CLICK=[0.2], NEXT_CLICK=[0.1], HAND_OVER=[0.01])
    return Question(Workload(1, 3, 1, 4, 2.0), times, roomy, True, p95_seconds=2.0, seed=1)


def measure_p95(question: Question, annotators: int, replicas: int) -> float:
    workload = dataclasses.replace(question.workload, annotators=annotators)
    visits = [draw_visits(workload, annotator, question.seed) for annotator in range(annotators)]
    outcome = simulate(visits, Cluster(replicas, question.budgets, 4 * replicas), question.times, question.seed)
    return measure_percentile(outcome, 95)


def test_it_finds_the_fewest_replicas_that_are_enough(question):
    answers = list(find_replicas(question, [1, 10, 60]))
    assert [answer.annotators for answer in answers] == [1, 10, 60]
    assert answers[0].replicas == 1
    assert 1 < answers[1].replicas < answers[2].replicas
    for answer in answers:
        assert answer.percentile(95) == measure_p95(question, answer.annotators, answer.replicas) <= 2.0
    for answer in answers[1:]:
        assert measure_p95(question, answer.annotators, answer.replicas - 1) > 2.0


@pytest.mark.parametrize("p95_seconds", [1.3, 1.5, 5.0, 30.0])
def test_wherever_the_search_begins(question, p95_seconds):
    question = dataclasses.replace(question, p95_seconds=p95_seconds)
    (answer,) = find_replicas(question, [12])
    assert measure_p95(question, 12, answer.replicas) <= p95_seconds
    assert answer.replicas == 1 or measure_p95(question, 12, answer.replicas - 1) > p95_seconds


def test_what_no_number_of_replicas_can_do_is_said(question):
    question = dataclasses.replace(question, p95_seconds=1.0)
    with pytest.raises(ConfigurationError, match=r"annotators, 10, the p95 is still 1\.\d\d s, more than 1 s"):
        list(find_replicas(question, [10]))
