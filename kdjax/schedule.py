"""Which stages can be trained now: those that are left, and read none that is left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from kdjax import cells, plan
from kdjax.cells import Cell, Seed
from kdjax.console import warn
from kdjax.training.loop import Diverged


class Place(NamedTuple):
    """A stage of one seed."""

    seed: int
    name: str


class Schedule:
    """The stages of all seeds that are to be trained, each after those that it reads.

    All of a seed are checked before its first is given out, so that a fault in the data
    which this seed draws is said before. Of several processes each has its own, alike.
    """

    def __init__(self, every: Sequence[Seed], todo: Sequence[Collection[str]]):
        """todo: of each of the seeds the stages that are to do, in reading order."""
        self._every = {this.seed: this for this in every}
        self._left = {
            Place(this.seed, name): None
            for this, names in zip(every, todo, strict=True)
            for name in names
        }
        self._open = set(self._left)  # left, or given out and not ended
        self._cells: dict[Place, Cell] = {}
        self._checked: set[int] = set()
        self.trained = 0
        self.failed: list[Diverged] = []
        for place in list(self._left)[:1]:
            self._check(place.seed)

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._open)

    def take(self) -> list[Cell]:
        """The next stage that can be trained, and all others of its program.

        An empty list where there is none, or none before others have ended.
        """
        first = next(self._ready(), None)
        if first is None:
            return []
        self._check(first.seed)
        program = self._cell(first).built.program
        taken = [first]
        if program is not None:
            alike = [p for p in self._ready() if self._task(p) == self._task(first)]
            taken = [p for p in alike if self._cell(p).built.program == program]
        for place in taken:
            del self._left[place]
        return [self._cells.pop(place) for place in taken]

    def ended(self, group: Sequence[Cell], diverged: Diverged | None = None) -> None:
        """Notes that stages given out are trained, or that one of them diverged.

        That one is given up, and what reads it; the others of its program are left.
        """
        places = [Place(cell.this.seed, cell.name) for cell in group]
        if diverged is None:
            self._open -= set(places)
            self.trained += len(places)
            return
        self.failed.append(diverged)
        labels = zip(places, group, strict=True)
        named = [place for place, cell in labels if cell.label in diverged.args]
        for place in named or places:
            self._give_up(place)
        self._left = {p: None for p in (*places, *self._left) if p in self._open}
        if self._left:
            warn(f"{diverged}; the stages that do not read it go on")

    def _check(self, seed: int) -> None:
        if seed not in self._checked:
            self._checked.add(seed)
            for place in self._left:
                if place.seed == seed:
                    self._cell(place)

    def _give_up(self, place: Place) -> None:
        self._open.discard(place)
        self._left.pop(place, None)
        for other in [p for p in self._left if p.seed == place.seed]:
            stages = self._every[other.seed].stages
            if other in self._left and place.name in plan.reads(stages[other.name]):
                warn(
                    f"seed {other.seed} {other.name}: not trained, for it reads "
                    f"{place.name!r}, which is not there"
                )
                self._give_up(other)

    def _ready(self) -> Iterator[Place]:
        for place in self._left:
            read = plan.reads(self._every[place.seed].stages[place.name])
            if not any(Place(place.seed, name) in self._open for name in read):
                yield place

    def _cell(self, place: Place) -> Cell:
        if place not in self._cells:
            self._cells[place] = cells.checked(self._every[place.seed], place.name)
        return self._cells[place]

    def _task(self, place: Place) -> str:
        return str(self._every[place.seed].stages[place.name].get("task"))
