"""One click or stroke corrects a mask: it adds or takes away parts of it, around itself alone.

An annotator who clicks where the mask is wrong wants that place changed and the rest left as it is. What can change is
the part that is connected to the click and has the other sign. Two maps say how far the click reaches: its Markov-map,
and a walk over regions that ends at all clicks so far. Their candidates vote. Then colours move the new border.

A stroke is many clicks of one sign at once: all parts of the other sign that it touches can change, and all pixels
under it get its sign. A click is a stroke of one pixel.

A positive click never takes a pixel away and a negative one never adds one. No click changes the sign under another.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from m2n2_engine.method.candidates import cut_map
from m2n2_engine.method.colour_cut import Mark, refine_border, shrink_marks
from m2n2_engine.method.edge_map import EdgeMap, find_edges
from m2n2_engine.method.evidence import Ballot, Side, Situation, choose_sizes, count_votes, score_click
from m2n2_engine.method.regions import walk_regions
from m2n2_engine.method.scene import Scene, weigh_cells, weigh_colours
from m2n2_engine.method.shapes import draw_discs, find_parts, grow, measure_depths
from m2n2_engine.types import Map, Mask

_SURE_PIXELS = 3
"""Colours and cells of a side are learned this far inside of it: its border may be wrong. Here."""


_OTHER_SIZES = 2
"""Regions that are offered beside the voted one: with it a part, an object, a group. Here."""


@dataclasses.dataclass(frozen=True)
class Step:
    """The mask after some clicks. mask: (H, W) at working size. marks: of all pixels that were clicked. scores: of the
    positive clicks that changed something, and of the box: mean edge along the border, 0 to 1. clicks: and strokes, how
    many. support: of the last click's change."""

    mask: Mask
    marks: tuple[Mark, ...] = ()
    scores: tuple[float, ...] = ()
    clicks: int = 0
    support: float = -math.inf


@dataclasses.dataclass(frozen=True)
class Change:
    """What a click changes. region: (H, W). edge: mean edge of its border, 0 to 1; None where it agrees with the mask.
    ballots: of the vote. support: score of the best candidate of the click's own maps; there is none without a vote."""

    region: Mask
    edge: float | None = None
    ballots: tuple[Ballot, ...] = ()
    support: float = -math.inf


def correct(before: Step, click: EdgeMap, positive: bool, scene: Scene) -> Step:
    """The step after one more click or stroke.

    Args:
        before: the mask that is clicked on.
        click: map of the new click or stroke.
        positive: its sign.
        scene: the image.
    """
    inside = _keep_inside(click, scene)
    if inside is None:
        return before  # nothing can change there
    return _apply(before, inside, positive, scene, _vote(before, inside, positive, scene))


def offer_sizes(before: Step, click: EdgeMap, positive: bool, scene: Scene) -> list[Step]:
    """The step of ``correct``, and after it those in which the click changes less or more; arguments as there."""
    inside = _keep_inside(click, scene)
    if inside is None:
        return [before]
    voted = _vote(before, inside, positive, scene)
    found = [voted]
    if voted.ballots:
        sizes = choose_sizes(voted.ballots, voted.region, _OTHER_SIZES)
        found += [Change(find_parts(region, inside.pixels), edge) for region, edge in sizes]
    return [_apply(before, inside, positive, scene, change) for change in found]


def _keep_inside(click: EdgeMap, scene: Scene) -> EdgeMap | None:
    """The click without its pixels that are certainly no object; None where there are no others."""
    path = tuple((x, y) for x, y in click.pixels if scene.outside is None or not scene.outside[y, x])
    return dataclasses.replace(click, path=path) if path else None


def _apply(before: Step, click: EdgeMap, positive: bool, scene: Scene, change: Change) -> Step:
    """The step in which a click changes a region."""
    method = scene.method
    x, y = np.transpose(click.pixels)
    marks, changed = before.marks, change.region
    scores = before.scores if change.edge is None or not positive else (*before.scores, change.edge)
    radii = (method.colour_mark_share * measure_depths(changed)[y, x]).astype(int).tolist()
    protected, stamp = _draw_claims(marks, click.pixels, positive, scene)
    changed = (changed & ~protected) | stamp
    mask = np.where(changed, positive, before.mask)
    own = (Mark(pixel, radius, positive) for pixel, radius in zip(click.pixels, radii, strict=True))
    marks = (*shrink_marks(marks, mask, method.colour_mark_share), *own)
    if (mask != before.mask).any():
        mask = _refine(before.mask, mask, marks, positive, scene)
        mask[stamp] = positive
    return Step(mask, marks, scores, before.clicks + 1, change.support)


def settle(mask: Mask, clicked: Mapping[tuple[int, int], bool], clicks: int, scene: Scene) -> Step:
    """The step of a mask ``(H, W)`` that obeys some clicks. clicked: signs of their pixels (x, y). clicks: how many."""
    mask = mask.copy()
    for (x, y), positive in clicked.items():
        mask[y, x] = positive
    deep = {positive: measure_depths(mask == positive) for positive in (True, False)}
    share = scene.method.colour_mark_share
    marks = (Mark((x, y), int(share * deep[positive][y, x]), positive) for (x, y), positive in clicked.items())
    return Step(mask, tuple(marks), clicks=clicks)


def _vote(before: Step, click: EdgeMap, positive: bool, scene: Scene) -> Change:
    """What the click changes by the vote of all candidates: nothing where it agrees with the mask."""
    method = scene.method
    x, y = np.transpose(click.pixels)
    if (before.mask[y, x] == positive).all():
        return Change(np.zeros_like(before.mask))
    open_pixels = before.mask != positive
    free = find_parts(open_pixels if scene.outside is None else open_pixels & ~scene.outside, click.pixels)
    found = Situation(
        side=_find_side(before.mask, positive, scene),
        rim=free & (measure_depths(free) < 2),
        mask_pixels=int(before.mask.sum()),
        clicks=before.clicks,
    )
    opposite = _find_opposite(before.marks, click.pixels, positive)
    most = _find_largest_change(found, positive, scene)
    cast = functools.partial(_cast, free=free, found=found, opposite=opposite, most=most, scene=scene)
    own = [cast(click, is_walk=False)]
    if found.mask_pixels:
        own.append(cast(_walk(before, click, positive, scene), is_walk=True))
    around = (dataclasses.replace(each, path=click.pixels) for each in click.around)
    ballots = (*own, *(cast(each, is_walk=False) for each in around))
    shares, edge = count_votes(ballots)
    support = max(float(ballot.scores.max()) for ballot in own)
    return Change(find_parts(free & (shares > method.majority), click.pixels), edge, ballots, support)


def _find_opposite(marks: Sequence[Mark], path: Sequence[tuple[int, int]], positive: bool) -> Sequence[tuple[int, int]]:
    """Clicked pixels (x, y) of the other sign. A stroke over them overrules them."""
    overruled = set(path) if len(path) > 1 else set()
    return [mark.pixel for mark in marks if mark.positive != positive and mark.pixel not in overruled]


def _find_largest_change(found: Situation, positive: bool, scene: Scene) -> float:
    """Pixels that a click may change at most.

    An annotator clicks on the largest mistake first. So after some clicks a mistake that is nearly as large as the mask
    is hardly left, and a region of that size is most likely a wrong one.
    """
    method = scene.method
    free_clicks = method.free_additions if positive else method.free_removals
    most = method.click_area_limit * scene.size[0] * scene.size[1]
    is_bounded = found.mask_pixels > 0 and found.clicks >= free_clicks
    return min(most, method.largest_change * found.mask_pixels) if is_bounded else most


def _cast(
    edge_map: EdgeMap,
    *,
    free: Mask,
    found: Situation,
    opposite: Sequence[tuple[int, int]],
    most: float,
    scene: Scene,
    is_walk: bool,
) -> Ballot:
    """The candidates of one map, of ``most`` pixels at most, and their scores. They keep below the map's value at
    clicks of the other sign."""
    method = scene.method
    least, weights = (
        (method.smallest_correction, method.correction)
        if found.mask_pixels
        else (method.smallest_object, method.first_click)
    )
    limit = min((float(edge_map.values[y, x]) for x, y in opposite), default=np.inf)
    candidates = cut_map(edge_map, free, (least * free.size, most), limit, method.candidates)
    return score_click(edge_map, candidates, scene.appearance, found, weights, method.edge_levels, is_walk=is_walk)


def _find_side(mask: Mask, positive: bool, scene: Scene) -> Side:
    """Log odds for the click's sign, learned from the mask before it; 0 where there is no mask yet."""
    inside, outside = (measure_depths(side) > _SURE_PIXELS for side in (mask, ~mask))
    own, other = (inside, outside) if positive else (outside, inside)
    colours = weigh_colours(scene.appearance, own, other)
    return Side(colours, weigh_cells(scene.appearance, scene.transition, own, other))


def _walk(before: Step, click: EdgeMap, positive: bool, scene: Scene) -> EdgeMap:
    """The map of the walk over regions: 0 where it surely ends at the new click's sign."""
    clicked = {mark.pixel: mark.positive for mark in before.marks} | dict.fromkeys(click.pixels, positive)
    chance: Map = walk_regions(scene.regions, clicked, before.mask, scene.method.previous_mask_weight)
    ends = find_edges(1 - chance if positive else chance, click.pixel, scene.method.edge_levels)
    return dataclasses.replace(ends, path=click.path)


def _draw_claims(
    marks: Sequence[Mark], path: Sequence[tuple[int, int]], positive: bool, scene: Scene
) -> tuple[Mask, Mask]:
    """The discs ``(H, W)`` of earlier clicks of the other sign, which this one leaves alone, and those around the
    pixels (x, y) of ``path``, which get its sign in any case: a click is never without an effect."""
    opposite = [mark.pixel for mark in marks if mark.positive != positive]
    if not opposite:
        return np.zeros(scene.size, bool), draw_discs(scene.size, path, [scene.click_radius] * len(path))
    # Imported here: one click alone, as `m2n2 segment` often has it, need not wait for it.
    from scipy.spatial import KDTree

    theirs, own = (KDTree(there).query(here)[0] / 2 for here, there in ((opposite, path), (path, opposite)))
    return (
        draw_discs(scene.size, opposite, np.minimum(theirs, scene.click_radius).tolist()),
        draw_discs(scene.size, path, np.minimum(own, scene.click_radius).tolist()),
    )


def _refine(before: Mask, mask: Mask, marks: Sequence[Mark], positive: bool, scene: Scene) -> Mask:
    """The corrected mask ``(H, W)`` with its border on colours near what has changed, and nowhere else."""
    if not scene.method.colour_band_cells:
        return mask
    discs = [Mark(mark.pixel, max(mark.radius, int(scene.click_radius)), mark.positive) for mark in marks]
    refined = refine_border(
        mask,
        scene.appearance.image,
        discs,
        scene.band_pixels,
        difference=scene.edge_difference,
        near=grow(mask != before, scene.reach_pixels),
        outside=scene.outside,
    )
    # Colours move the border of what has changed, and never back over the mask before.
    refined = before | refined if positive else before & refined
    for mark in marks:
        refined[mark.pixel[1], mark.pixel[0]] = mark.positive
    return np.asarray(refined, bool)
