"""The engine as its callers see it, on the tiny backbone."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from m2n2_engine import __version__
from m2n2_engine.backbones import load_backbone
from m2n2_engine.cache.transitions import AggregatorSource, AttentionAggregator
from m2n2_engine.config import PROCESSOR_SESSION_CACHE_BYTES, EngineConfig, MethodConfig
from m2n2_engine.engine import Engine, load_engine
from m2n2_engine.errors import DeadlineExceeded, InvalidClicks, InvalidImage, InvalidMask, OutOfMemory
from m2n2_engine.kernels.cpu.threads import thread_count
from m2n2_engine.paper_api import BackboneAggregator
from m2n2_engine.presets import CONSENSUS, PRESETS
from m2n2_engine.types import Click, Deadline, EngineStatus, Image, Mask, Picture, Tier, TierStatus

DrawDisc = Callable[..., tuple[Image, Mask]]
RunOut = Callable[[int, type[Exception]], Callable[[], None]]
IoU = Callable[[Mask, Mask], float]
MakeEngine = Callable[..., Engine]

pytestmark = pytest.mark.usefixtures("one_thread")

ON_DISC, ON_GROUND = Click(40, 36), Click(85, 10)
QUICK = MethodConfig(max_steps=100)
"""The walk between two colours takes more steps than any limit here; a low one saves time."""

LONG_SECONDS = 60
"""Nothing waits this long unless it would wait forever."""


class WatchedAggregator:
    """Counts the images that are prepared; calls ``before`` ahead of each."""

    def __init__(self, aggregator: AttentionAggregator) -> None:
        self.prepared: Counter[bytes] = Counter()
        self.before: Callable[[], object] = lambda: None
        self._aggregator = aggregator

    def extract_attention(self, image: Image) -> torch.Tensor:
        self.prepared[image.tobytes()] += 1
        self.before()
        return self._aggregator.extract_attention(image)


@pytest.fixture(scope="module")
def tiny_aggregator() -> BackboneAggregator:
    return BackboneAggregator(load_backbone(EngineConfig(backbone="tiny", device="cpu")).backbone)


@pytest.fixture
def watched(tiny_aggregator: BackboneAggregator) -> WatchedAggregator:
    return WatchedAggregator(tiny_aggregator)


@pytest.fixture
def make_engine(tiny_aggregator: BackboneAggregator) -> MakeEngine:
    """An engine of its own, on the tiny backbone or on an aggregator that watches it."""

    def make(aggregator: AttentionAggregator = tiny_aggregator, method: MethodConfig = QUICK, **options: Any) -> Engine:
        cells = int(np.prod(tiny_aggregator.backbone.grid))
        source = AggregatorSource(aggregator, method.chain)
        return Engine(source, fingerprint="tiny", cells=cells, method=method, **options)

    return make


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


@pytest.fixture
def image(draw_disc: DrawDisc) -> Image:
    return draw_disc()[0]


# --- masks


def test_a_disc_is_segmented(engine: Engine, draw_disc: DrawDisc, iou: IoU) -> None:
    image, disc = draw_disc()
    found = engine.segment(image, [ON_DISC])
    assert (found.mask.dtype, found.mask.shape) == (np.bool_, (72, 96))
    assert iou(found.mask, disc) > 0.9
    assert 0 < found.score <= 1
    assert found.timings.prepare_seconds > 0
    assert found.timings.clicks_seconds > 0


def test_the_order_of_positive_clicks_does_not_matter_much(engine: Engine, draw_disc: DrawDisc, iou: IoU) -> None:
    image, disc = draw_disc()
    clicks = [Click(30, 36), Click(50, 40), Click(42, 24)]
    masks = [engine.segment(image, ordered).mask for ordered in (clicks, clicks[::-1], clicks[1:] + clicks[:1])]
    assert iou(masks[0], disc) > 0.9
    assert min(iou(masks[0], mask) for mask in masks[1:]) > 0.98


def test_a_negative_click_removes_its_region(engine: Engine, draw_disc: DrawDisc) -> None:
    left, right = (draw_disc(center=(x, 36), radius=14)[1] for x in (24, 72))
    image = np.full((72, 96, 3), (40, 60, 90), np.uint8)
    image[left | right] = (220, 60, 40)
    both = [Click(24, 36), Click(72, 36)]
    together = engine.segment(image, both).mask
    apart = engine.segment(image, [both[0], Click(72, 36, positive=False)]).mask
    assert together[left].mean() > 0.9
    assert together[right].mean() > 0.9
    assert apart[left].mean() > 0.9
    assert apart[right].mean() < 0.05


def test_only_negative_clicks_give_an_empty_mask(
    make_engine: MakeEngine, watched: WatchedAggregator, image: Image
) -> None:
    clicks = [Click(40, 36, positive=False), Click(1, 1, positive=False)]
    found = make_engine(watched).segment(image, clicks)
    assert (found.mask.dtype, found.mask.shape) == (np.bool_, (72, 96))
    assert (found.mask.any(), found.score) == (False, 0.0)
    assert not watched.prepared


def test_twenty_clicks_on_one_pixel_are_as_good_as_one(engine: Engine, image: Image) -> None:
    one = engine.segment(image, [ON_DISC])
    twenty = engine.segment(image, [ON_DISC] * 20)
    np.testing.assert_array_equal(twenty.mask, one.mask)
    assert twenty.score == pytest.approx(one.score)


@pytest.mark.parametrize("last_is_positive", [True, False])
def test_of_opposite_clicks_on_one_pixel_the_last_has_it(engine: Engine, image: Image, last_is_positive: bool) -> None:
    clicks = [Click(40, 36, positive=not last_is_positive), Click(40, 36, positive=last_is_positive)]
    found = engine.segment(image, clicks)
    assert found.mask[36, 40] == last_is_positive
    assert 0 <= found.score <= 1


def test_a_click_on_the_far_corner_has_the_last_pixel(engine: Engine, image: Image) -> None:
    found = engine.segment(image, [Click(96, 72)])
    assert found.mask[-1, -1]
    assert not found.mask[36, 40]


def test_every_clicked_pixel_has_its_sign(engine: Engine, image: Image) -> None:
    points = np.random.default_rng(3).uniform((0, 0), (96, 72), (12, 2))
    clicks = [Click(x, y, positive=i % 3 > 0) for i, (x, y) in enumerate(points)]
    mask = engine.segment(image, clicks).mask
    assert [mask[int(click.y), int(click.x)] for click in clicks] == [click.positive for click in clicks]


def test_clicks_closer_than_the_working_size_shows_keep_their_signs(
    make_engine: MakeEngine, draw_disc: DrawDisc
) -> None:
    image, _ = draw_disc(960, 720, (400, 360), 180)
    clicks = [Click(400, 360), Click(402, 360, positive=False), Click(404, 360)]
    mask = make_engine(method=dataclasses.replace(QUICK, working_size_pixels=96)).segment(image, clicks).mask
    assert mask[360, [400, 402, 404]].tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (2, 2), (3, 40)])
@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_the_smallest_images_have_a_mask(engine: Engine, shape: tuple[int, int], kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    found = engine.segment(noise if kind == "noise" else np.zeros_like(noise), [Click(0, 0)])
    assert (found.mask.shape, found.mask[0, 0]) == (shape, True)
    assert 0 <= found.score <= 1


def test_a_flat_image_has_a_mask_around_the_click(engine: Engine) -> None:
    found = engine.segment(np.full((40, 60, 3), 128, np.uint8), [Click(30, 20)])
    assert found.mask[20, 30]
    assert 0 < found.mask.mean() <= MethodConfig().click_area_limit + 0.01


def test_a_large_image_comes_back_at_full_size(make_engine: MakeEngine, draw_disc: DrawDisc, iou: IoU) -> None:
    image, disc = draw_disc(1500, 1200, (700, 600), 300)
    found = make_engine(method=dataclasses.replace(QUICK, working_size_pixels=300)).segment(image, [Click(700, 600)])
    assert found.mask.shape == (1200, 1500)
    assert iou(found.mask, disc) > 0.97


# --- what the caller hands in


@pytest.mark.parametrize(
    ("clicks", "message"),
    [
        ([], "there are no clicks: give at least one positive click"),
        ([Click(96.5, 10)], r"the click \(96.5, 10\) is outside the image: use 0 <= x <= 96, 0 <= y <= 72"),
        ([Click(10, 73)], r"the click \(10, 73\) is outside"),
        ([Click(-0.25, 10)], r"the click \(-0.25, 10\) is outside"),
        ([ON_DISC, Click(10, -1, positive=False)], r"the click \(10, -1\) is outside"),
        ([Click(float("nan"), 10)], r"the click \(nan, 10\) is no point: use finite pixel coordinates"),
        ([Click(10, float("inf"))], r"the click \(10, inf\) is no point"),
        ([Click(float("-inf"), 10, positive=False)], r"the click \(-inf, 10\) is no point"),
    ],
)
def test_clicks_that_are_no_points_of_the_image(
    engine: Engine, image: Image, clicks: Sequence[Click], message: str
) -> None:
    with pytest.raises(InvalidClicks, match=message):
        engine.segment(image, clicks)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((72, 96), np.uint8), r"must be bool \(H, W\), not uint8 \(72, 96\): convert it"),
        (np.zeros((72, 96, 1), bool), r"not bool \(72, 96, 1\)"),
        (np.zeros((96, 72), bool), "has 72 x 96 pixels, but the image 96 x 72: give it at the size of the image"),
        ("mask", "not str"),
    ],
)
def test_masks_that_are_none_of_the_image(make_engine: MakeEngine, image: Image, mask: Any, message: str) -> None:
    with pytest.raises(InvalidMask, match=message):
        make_engine(method=PRESETS[CONSENSUS]).segment(image, [ON_DISC], mask=mask)


def test_a_joint_decision_starts_from_no_mask(engine: Engine, image: Image) -> None:
    with pytest.raises(InvalidMask, match="this preset decides all clicks at once"):
        engine.segment(image, [ON_DISC], mask=np.zeros((72, 96), bool))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 9, 3)), r"must be RGB uint8 \(H, W, 3\), not float64 \(8, 9, 3\)"),
        (np.zeros((8, 9), np.uint8), r"not uint8 \(8, 9\)"),
        (np.zeros((8, 9, 4), np.uint8), r"not uint8 \(8, 9, 4\)"),
        (np.zeros((1, 8, 9, 3), np.uint8), r"not uint8 \(1, 8, 9, 3\)"),
        (np.zeros((0, 9, 3), np.uint8), r"the image has no pixels: its shape is \(0, 9, 3\)"),
        (np.zeros((8, 0, 3), np.uint8), r"the image has no pixels"),
        ([[[0, 0, 0]]], "not list"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_image(engine: Engine, image: Any, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        engine.segment(image, [Click(0, 0)])


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[:, :, ::-1],
        lambda image: image[::-1],
        lambda image: image[:, ::-1],
        lambda image: image[::2, 1::2],
        lambda image: image.transpose(1, 0, 2),
        lambda image: np.asfortranarray(image),
    ],
)
def test_a_view_has_the_mask_of_its_copy(make_engine: MakeEngine, draw_disc: DrawDisc, view: Any) -> None:
    seen = view(draw_disc(center=(30, 30))[0])
    clicks = [Click(20, 20), Click(1, 2, positive=False)]
    expected = make_engine().segment(np.ascontiguousarray(seen), clicks).mask
    np.testing.assert_array_equal(make_engine().segment(seen, clicks).mask, expected)


def test_a_read_only_image_is_taken(engine: Engine, image: Image) -> None:
    expected = engine.segment(image.copy(), [ON_DISC]).mask
    image.flags.writeable = False
    np.testing.assert_array_equal(engine.segment(image, [ON_DISC]).mask, expected)


def test_an_array_that_changes_later_is_another_image(
    make_engine: MakeEngine, watched: WatchedAggregator, draw_disc: DrawDisc, iou: IoU
) -> None:
    engine = make_engine(watched)
    first, _ = draw_disc()
    second, other_disc = draw_disc(center=(60, 30))
    expected = engine.segment(first.copy(), [ON_DISC, Click(42, 30)]).mask
    buffer = first.copy()
    engine.segment(buffer, [ON_DISC])
    buffer[:] = second
    assert iou(engine.segment(buffer, [Click(60, 30)]).mask, other_disc) > 0.9
    np.testing.assert_array_equal(engine.segment(first, [ON_DISC, Click(42, 30)]).mask, expected)
    assert sorted(watched.prepared.values()) == [1, 1]


def test_a_session_keeps_no_array_of_its_caller(make_engine: MakeEngine, draw_disc: DrawDisc) -> None:
    image, _ = draw_disc()
    expected = make_engine().segment(image, [ON_GROUND]).mask
    engine, buffer = make_engine(), image.copy()
    engine.segment(buffer, [ON_DISC])
    buffer[:] = 0
    np.testing.assert_array_equal(engine.segment(image, [ON_GROUND]).mask, expected)


def test_the_answer_belongs_to_the_caller(engine: Engine, image: Image) -> None:
    first = engine.segment(image, [ON_DISC]).mask
    expected = first.copy()
    first[:] = True
    np.testing.assert_array_equal(engine.segment(image, [ON_DISC]).mask, expected)


# --- sessions


def test_an_image_is_prepared_once_and_a_known_click_costs_nothing_new(
    make_engine: MakeEngine, watched: WatchedAggregator, image: Image
) -> None:
    engine = make_engine(watched)
    for clicks in ([ON_DISC], [ON_DISC, Click(45, 40)], [ON_GROUND]):
        engine.segment(image, clicks)
    assert list(watched.prepared.values()) == [1]
    assert engine.status().tiers[Tier.DEVICE].images == 1


@pytest.mark.parametrize("session_cache_bytes", [2**30, 1])
def test_threads_get_the_masks_that_each_gets_alone(
    make_engine: MakeEngine, watched: WatchedAggregator, draw_disc: DrawDisc, session_cache_bytes: int
) -> None:
    images = [draw_disc(center=(x, 36), radius=12 + x / 8)[0] for x in (30, 40, 50, 60)]
    prompts = [[Click(45, 36)], [Click(45, 36), Click(48, 34)], [Click(45, 36), Click(90, 5, positive=False)]]
    expected = [[make_engine().segment(image, clicks).mask for clicks in prompts] for image in images]
    engine = make_engine(watched, session_cache_bytes=session_cache_bytes)
    start = threading.Barrier(8)

    def annotate(first: int) -> list[tuple[int, int, Mask]]:
        start.wait(LONG_SECONDS)
        order = [(first + i) % len(images) for i in range(len(images))]
        return [(i, j, engine.segment(images[i], prompts[j]).mask) for i in order for j in range(len(prompts))]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for answers in pool.map(annotate, range(8)) for answer in answers]
    assert len(answers) == 8 * len(images) * len(prompts)
    for i, j, mask in answers:
        np.testing.assert_array_equal(mask, expected[i][j], err_msg=f"image {i}, prompt {j}")
    if session_cache_bytes > 1:
        assert list(watched.prepared.values()) == [1] * len(images)
    else:
        assert engine.status().tiers[Tier.DEVICE].images == 1


def test_a_budget_for_no_map_at_all_still_answers(make_engine: MakeEngine, image: Image) -> None:
    clicks = [ON_DISC, Click(45, 40), Click(85, 10, positive=False)]
    expected = make_engine().segment(image, clicks).mask
    engine = make_engine(click_maps_bytes=1)
    for _ in range(2):
        np.testing.assert_array_equal(engine.segment(image, clicks).mask, expected)


def test_least_recent_images_make_room(
    make_engine: MakeEngine, watched: WatchedAggregator, draw_disc: DrawDisc
) -> None:
    images = [draw_disc(center=(x, 36))[0] for x in (30, 40, 50)]
    alone = make_engine()
    alone.segment(images[0], [ON_DISC])
    one = alone.status().tiers[Tier.DEVICE].bytes
    engine = make_engine(watched, session_cache_bytes=round(2.5 * one))
    for i in (0, 1, 0, 2, 0, 1):
        engine.segment(images[i], [ON_DISC])
    assert [watched.prepared[image.tobytes()] for image in images] == [1, 2, 1]
    assert engine.status().tiers[Tier.DEVICE].bytes <= 2.5 * one


# --- what goes wrong


@pytest.fixture
def run_out_of_memory() -> RunOut:
    """Raises the error the first few times it is called."""

    def times(count: int, kind: type[Exception]) -> Callable[[], None]:
        left = iter(range(count))

        def fail() -> None:
            if next(left, None) is not None:
                raise kind("no room")

        return fail

    return times


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_once_is_tried_again_with_idle_images_dropped(
    make_engine: MakeEngine,
    watched: WatchedAggregator,
    draw_disc: DrawDisc,
    run_out_of_memory: RunOut,
    kind: type[Exception],
) -> None:
    image, _ = draw_disc()
    other, _ = draw_disc(center=(60, 30))
    expected = make_engine().segment(image, [ON_DISC]).mask
    engine = make_engine(watched)
    engine.segment(other, [ON_DISC])
    watched.before = run_out_of_memory(1, kind)
    np.testing.assert_array_equal(engine.segment(image, [ON_DISC]).mask, expected)
    assert watched.prepared == {image.tobytes(): 2, other.tobytes(): 1}
    assert engine.status().tiers[Tier.DEVICE].images == 1


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_twice_is_an_error_that_leaves_nothing(
    make_engine: MakeEngine, watched: WatchedAggregator, image: Image, run_out_of_memory: RunOut, kind: type[Exception]
) -> None:
    watched.before = run_out_of_memory(2, kind)
    engine = make_engine(watched)
    with pytest.raises(OutOfMemory, match=r"no memory left for this 96 x 72 image: use a smaller grid"):
        engine.segment(image, [ON_DISC])
    assert engine.status().tiers[Tier.DEVICE].images == 0
    assert engine.segment(image, [ON_DISC]).mask.any()


def test_who_waits_for_a_failing_preparation_tries_once_more(
    make_engine: MakeEngine, watched: WatchedAggregator, image: Image
) -> None:
    preparing, may_fail = threading.Event(), threading.Event()

    def fail_once() -> None:
        if not may_fail.is_set():
            preparing.set()
            assert may_fail.wait(LONG_SECONDS)
            raise RuntimeError("the network failed")

    watched.before = fail_once
    engine = make_engine(watched)
    asked = threading.Barrier(4)

    def ask() -> None:
        asked.wait(LONG_SECONDS)
        engine.segment(image, [ON_DISC])

    with ThreadPoolExecutor(4) as pool:
        builder = pool.submit(engine.segment, image, [ON_DISC])
        assert preparing.wait(LONG_SECONDS)
        waiters = [pool.submit(ask) for _ in range(3)]
        asked.wait(LONG_SECONDS)
        may_fail.set()
        assert str(builder.exception(LONG_SECONDS)) == "the network failed"
        # One of them prepares the image anew, and the others have it from there.
        assert [waiter.exception(LONG_SECONDS) for waiter in waiters] == [None] * 3
    assert watched.prepared[image.tobytes()] == 2


@pytest.mark.parametrize("is_prepared", [False, True])
def test_nothing_is_computed_when_no_time_is_left(
    make_engine: MakeEngine, watched: WatchedAggregator, image: Image, is_prepared: bool
) -> None:
    engine = make_engine(watched)
    if is_prepared:
        engine.prepare(image)
    with pytest.raises(DeadlineExceeded, match="no time is left to"):
        engine.segment(image, [ON_DISC], deadline=Deadline.after(0))
    assert watched.prepared.total() == int(is_prepared)
    assert engine.segment(image, [ON_DISC], deadline=Deadline.after(LONG_SECONDS)).mask.any()


def test_a_picture_is_the_image_it_was_made_of(engine: Engine, image: Image) -> None:
    picture = Picture.of(image)
    np.testing.assert_array_equal(engine.segment(picture, [ON_DISC]).mask, engine.segment(image, [ON_DISC]).mask)
    assert engine.status().tiers[Tier.DEVICE].images == 1


# --- loading


def test_load_engine_describes_what_it_loaded(tiny_config: EngineConfig, image: Image) -> None:
    engine = load_engine(tiny_config)
    empty = TierStatus(images=0, bytes=0, budget_bytes=0, hits=0, misses=0, evictions=0)
    assert engine.status() == EngineStatus(
        model_version=engine.model_version,
        backbone="tiny",
        backbone_reason="asked for",
        preset="paper",
        device="cpu",
        grid="24x24",
        threads=thread_count(),
        tiers={
            Tier.DEVICE: dataclasses.replace(empty, budget_bytes=PROCESSOR_SESSION_CACHE_BYTES),
            Tier.HOST: dataclasses.replace(empty, budget_bytes=tiny_config.host_cache_bytes),
        },
    )
    assert engine.model_version.startswith("m2n2-")
    engine.warm_up()
    assert engine.status().tiers[Tier.DEVICE].images == 0
    assert engine.segment(image, [ON_DISC]).mask.any()


@pytest.mark.parametrize(
    ("changes", "preset"),
    [({}, "consensus"), ({"click_area_limit": 0.5}, "consensus-click_area_limit=0.5")],
)
def test_the_version_tells_which_method_made_a_mask(
    tiny_config: EngineConfig, changes: dict[str, float], preset: str
) -> None:
    config = dataclasses.replace(tiny_config, grid=12, preset=CONSENSUS, changes=changes)
    assert load_engine(config).model_version == f"m2n2-{__version__}-tiny-12-{preset}"


# --- a decision by consensus


@pytest.fixture
def consensus(make_engine: MakeEngine) -> Engine:
    return make_engine(method=dataclasses.replace(PRESETS[CONSENSUS], max_steps=100))


def test_consensus_a_disc_is_segmented(consensus: Engine, draw_disc: DrawDisc, iou: IoU) -> None:
    image, disc = draw_disc()
    found = consensus.segment(image, [ON_DISC])
    assert iou(found.mask, disc) > 0.95
    assert 0 < found.score <= 1


def test_consensus_the_answer_does_not_depend_on_what_was_asked_before(
    consensus: Engine, make_engine: MakeEngine, image: Image
) -> None:
    clicks = [ON_DISC, Click(45, 20), ON_GROUND, Click(33, 48, positive=False)]
    one_by_one = [consensus.segment(image, clicks[:count]).mask for count in range(1, 5)][-1]
    fresh = make_engine(method=dataclasses.replace(PRESETS[CONSENSUS], max_steps=100))
    np.testing.assert_array_equal(fresh.segment(image, clicks).mask, one_by_one)


def test_consensus_a_correction_changes_only_its_surroundings(consensus: Engine, draw_disc: DrawDisc) -> None:
    left, right = (draw_disc(center=(x, 36), radius=14)[1] for x in (24, 72))
    image = np.full((72, 96, 3), (40, 60, 90), np.uint8)
    image[left | right] = (220, 60, 40)
    both = consensus.segment(image, [Click(24, 36), Click(72, 36)]).mask
    less = consensus.segment(image, [Click(24, 36), Click(72, 36), Click(73, 38, positive=False)]).mask
    np.testing.assert_array_equal(less[:, :48], both[:, :48])
    assert both[38, 73]
    assert not less[38, 73]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (700, 500)])
def test_consensus_images_of_any_size(consensus: Engine, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    mask = consensus.segment(image, [Click(0, 0), Click(size[1], size[0], positive=size == (1, 1))]).mask
    assert mask.shape == size
    assert mask[0, 0]
