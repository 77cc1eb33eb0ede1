"""Random lives of a journal with a crash in each, checked against a model: what was acknowledged is there, nothing goes back.

`run` raises AssertionError where the journal breaks its word, and lets DamageError through: a crash alone must never look
like damage. The same histories prove the planted mistakes of test_planted.py, so they can fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from loggos.base.ids import Ballot, Slot
from loggos.consensus.types import Entry, HardState, Kind
from loggos.storage.journal import Journal, Recovered, open_journal
from loggos.storage.recovery import Recovery
from tests.storage.memory_disk import MemoryDisk, PowerCut

SEGMENT_BYTES = 4096
LIVES = 5
STEPS_PER_LIFE = 25
SIZES = (0, 0, 40, 40, 40, 300, 300, 1200, 2500, 9000)


@dataclass
class Batch:
    promised: int
    chosen: int
    entries: list[Entry]


@dataclass
class Model:
    """What the journal said is durable, and what it was doing when it died."""

    entries: dict[int, Entry] = field(default_factory=dict)
    promised: int = 0
    chosen: int = 0  # of the last durable batch
    hinted: int = 0  # of the last call
    removed: int = 0  # slots up to it may be gone
    in_flight: Batch | None = None

    def take(self, batch: Batch) -> None:
        self.entries.update({entry.slot: entry for entry in batch.entries})
        self.promised, self.chosen = batch.promised, batch.chosen

    def check(self, found: Recovered) -> None:
        """Compare, and settle whether the batch in flight made it."""
        batch, self.in_flight = self.in_flight, None
        if batch is not None and self.holds(found, batch):
            self.take(batch)
        held = found.entries
        for slot, entry in self.entries.items():
            assert held.get(Slot(slot), entry) == entry, f"slot {slot} went back"
            assert Slot(slot) in held or slot <= self.removed, f"slot {slot} is lost"
        assert all(slot in self.entries for slot in held), "an entry from nowhere"
        assert found.hard_state.promised == self.promised, (found.hard_state, self.promised)
        assert self.chosen <= found.hard_state.chosen <= self.hinted, (found.hard_state, self.chosen, self.hinted)

    def holds(self, found: Recovered, batch: Batch) -> bool:
        """Is the whole batch there? Part of it would be a mistake that `check` then finds."""
        latest = {entry.slot: entry for entry in batch.entries}
        is_held = all(found.entries.get(slot) == entry for slot, entry in latest.items())
        return is_held and found.hard_state == (batch.promised, batch.chosen)


class History:
    def __init__(self, seed: int, journal_type: type[Journal] = Journal, recovery_type: type[Recovery] = Recovery) -> None:
        self.random = Random(seed)
        self.disk = MemoryDisk()
        self.model = Model()
        self.types = (journal_type, recovery_type)
        self.cuts_of_tails = 0
        self.removals = 0

    async def run(self) -> None:
        for _ in range(LIVES):
            if self.random.random() < 0.5:
                self.disk.cut_in_batch = self.random.randrange(12)
            self.disk.cut_at = self.random.randrange(300)
            try:
                await self.live()
            except PowerCut:
                pass
            self.disk.cut_at = self.disk.cut_in_batch = None
            if self.random.random() < 0.8:  # else only the process dies, and the page cache stays
                self.disk.power_cut(self.random)
        self.model.check(await self.open())

    async def open(self) -> Recovered:
        journal_type, recovery_type = self.types
        found = await open_journal(
            self.disk, segment_bytes=SEGMENT_BYTES, journal_type=journal_type, recovery_type=recovery_type
        )
        self.cuts_of_tails += found.cut_bytes > 0
        return found

    async def live(self) -> None:
        found = await self.open()
        self.model.check(found)
        for _ in range(STEPS_PER_LIFE):
            step = self.random.choice((self.persist, self.persist, self.persist, self.hint, self.remove, self.prepare))
            await step(found.journal)
        if self.random.random() < 0.3:
            await found.journal.close()

    async def persist(self, journal: Journal) -> None:
        model, random = self.model, self.random
        model.hinted += random.randrange(3)
        promised = model.promised + random.choice((0, 0, 256))
        entries = [self.entry(promised) for _ in range(random.randrange(4))]
        model.in_flight = Batch(promised, model.hinted, entries)
        await journal.persist(HardState(Ballot(promised), Slot(model.hinted)), entries, sync=True)
        model.take(model.in_flight)
        model.in_flight = None

    def entry(self, ballot: int) -> Entry:
        slot = self.random.randint(max(1, len(self.model.entries) - 5), len(self.model.entries) + 5)
        payload = self.random.randbytes(8) + bytes(self.random.choice(SIZES))
        return Entry(Slot(slot), Ballot(ballot), Ballot(ballot // 2), Kind.DATA, payload)

    async def hint(self, journal: Journal) -> None:
        self.model.hinted += 1
        await journal.persist(HardState(Ballot(self.model.promised), Slot(self.model.hinted)), [], sync=False)

    async def remove(self, journal: Journal) -> None:
        slot = self.random.randrange(len(self.model.entries) + 1)
        self.model.removed = max(self.model.removed, slot)
        before = journal.segments
        await journal.remove_before(Slot(slot))
        self.removals += journal.segments < before

    async def prepare(self, journal: Journal) -> None:
        await journal.prepare_next()
