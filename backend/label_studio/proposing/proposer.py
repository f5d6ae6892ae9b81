"""Makes the proposals of one image: fetches the pictures of its examples, asks the engine, renders what it finds."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterable, Sequence

from backend.label_studio.answer import render_answer, render_mask
from backend.label_studio.payload import PROPOSAL_PREFIX
from backend.label_studio.proposing.accepted import AcceptedMask
from backend.label_studio.proposing.examples import AcceptedExamples, join_examples
from backend.label_studio.proposing.ready import Prediction, Proposed
from backend.label_studio.proposing.wanted import Wanted
from backend.scheduling.clicks import ClickService, Ticket
from backend.settings import Settings
from m2n2_engine.errors import M2N2Error
from m2n2_engine.types import NEVER, Example, Picture, Proposal

_MOST_EXAMPLE_PIXELS = 64_000_000
"""Of all pictures of one task's examples, which are in memory together. Here: five of 12 megapixels."""

_MOST_PROPOSALS = 50
"""Of one image, the surest. Here: more than anybody looks through."""

logger = logging.getLogger(__name__)


class ImageProposer:
    """Examples and a picture -> what Label Studio gets. To be used in the background alone."""

    def __init__(self, settings: Settings, clicks: ClickService, examples: AcceptedExamples) -> None:
        self._settings = settings
        self._clicks = clicks
        self._examples = examples

    def propose(
        self,
        wanted: Wanted,
        picture: Picture,
        ticket: Ticket,
        known: Proposed | None,
        is_in_the_way: Callable[[], bool],
    ) -> Proposed:
        """The proposals for a picture, or those known where nothing has changed since.

        Raises what the queue and the engine raise, and Obsolete where other work is to go first.
        """
        project, task = wanted.key.project, wanted.key.task_id
        newest = self._examples.find(project, wanted.label_config, NEVER)
        version = newest.render_version(self._clicks.model_version)
        if known is not None and known.version == version:
            return known
        before = self._examples.find_before(project, task, wanted.label_config, NEVER) if newest.masks else ()
        accepted = [mask for mask in join_examples(before, newest.masks, task) if wanted.find_controls(mask.label)]
        examples = self._load(accepted, ticket)
        # What was fetched while clicks came is kept; the work begins when they are answered.
        self._clicks.queue.wait_until_idle()
        found = self._clicks.propose(picture, examples, ticket, is_in_the_way) if examples else ()
        return Proposed(version, self._render(wanted, found, version))

    def _load(self, accepted: Iterable[AcceptedMask], ticket: Ticket) -> list[Example]:
        """The examples with their pictures; one whose picture cannot be had is left out, with a line in the log."""
        examples, pictures = list[Example](), dict[str, int]()
        for mask in accepted:
            try:
                picture = self._clicks.fetch(mask.image, ticket, mask.size)
            except M2N2Error as error:
                logger.warning("an example is left out: %s: %s", type(error).__name__, error)
                continue
            pictures[picture.digest] = mask.size[0] * mask.size[1]
            if sum(pictures.values()) > _MOST_EXAMPLE_PIXELS and examples:
                break
            if picture.size == mask.size:
                examples.append(Example(picture, mask.unpack(), mask.label))
        return examples

    def _render(self, wanted: Wanted, found: Sequence[Proposal], version: str) -> Prediction | None:
        """The proposals that are sure enough as one prediction; None where there are none."""
        given = [one for one in found if one.score >= self._settings.propose_score and one.mask.any()]
        regions = []
        for one in given[:_MOST_PROPOSALS]:
            place, controls = wanted.find_place(one.label), wanted.find_controls(one.label)
            regions += render_mask(place, controls, one.mask, one.score, self._settings, None, PROPOSAL_PREFIX)
        if not regions:
            return None
        return render_answer(regions, statistics.mean(region["score"] for region in regions), version)
