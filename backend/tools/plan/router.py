"""Which replica a click goes to: the rules of Ray Serve for multiplexed models, as far as they matter here."""

from __future__ import annotations

import collections
import random
from collections.abc import Sequence


class Router:
    """Remembers which images each replica has and how many clicks it has in hand.

    images: that a replica keeps, the least recently used out first. hands: clicks that it takes at a time,
    ``max_ongoing_requests``. What is told of a replica is known at once; Serve needs a tenth of a second.
    """

    def __init__(self, replicas: int, images: int, hands: int, rng: random.Random) -> None:
        self._images = images
        self._hands = hands
        self._rng = rng
        self._kept: list[collections.OrderedDict[int, None]] = [collections.OrderedDict() for _ in range(replicas)]
        self._holders: dict[int, set[int]] = collections.defaultdict(set)
        self.in_hand = [0] * replicas

    def choose(self, image: int) -> int:
        """A replica that has the image; where there is none, or it has its hands full, one of those with the fewest
        images, and where these are full, too, the one that has the least to do. It has one more click in hand now."""
        replica = self._choose_of(sorted(self._holders[image]))
        if replica is None:
            replica = self._choose_of(self._find_emptiest())
        if replica is None:
            replica = min(range(len(self._kept)), key=self.in_hand.__getitem__)
        self._give(replica, image)
        return replica

    def give_back(self, replica: int) -> None:
        """The replica has answered one of its clicks."""
        self.in_hand[replica] -= 1

    def _choose_of(self, candidates: Sequence[int]) -> int | None:
        """The less busy one of two at random; None where there is none, or it has its hands full."""
        drawn = self._rng.sample(candidates, min(2, len(candidates)))
        chosen = min(drawn, key=self.in_hand.__getitem__, default=None)
        return None if chosen is None or self.in_hand[chosen] >= self._hands else chosen

    def _find_emptiest(self) -> Sequence[int]:
        counts = [len(kept) for kept in self._kept]
        fewest = min(counts)
        return [replica for replica, count in enumerate(counts) if count == fewest]

    def _give(self, replica: int, image: int) -> None:
        self.in_hand[replica] += 1
        kept = self._kept[replica]
        kept[image] = None
        kept.move_to_end(image)
        self._holders[image].add(replica)
        if len(kept) > self._images:
            dropped, _ = kept.popitem(last=False)
            self._holders[dropped].discard(replica)
