"""The log of one acceptor in memory: entries by slot, the contiguous chosen prefix, and what was forgotten.

Entries above `chosen` may have gaps; entries in (compacted, chosen] have none. An entry's ballot never goes down: an
acceptor that lowered it could hide a chosen value from a later phase 1. Knows nothing of messages, leaders or disks.
"""

from __future__ import annotations

from loggos.base.ids import Ballot, Slot
from loggos.consensus.types import Entry, Kind


class Log:
    """Slots compacted+1..chosen are held and chosen; above that, whatever was accepted."""

    def __init__(self, snapshot_slot: Slot) -> None:
        self.entries: dict[Slot, Entry] = {}
        self.compacted = snapshot_slot
        self.chosen = snapshot_slot
        self.last = snapshot_slot  # highest slot with an entry, or `chosen`
        self._run_ballot = Ballot(0)
        self._run_last = snapshot_slot
        self._configs: list[Slot] = []  # slots that hold a change of the membership, ascending; hardly ever any

    @property
    def first(self) -> Slot:
        """The lowest slot that may still be held."""
        return Slot(self.compacted + 1)

    def get(self, slot: int) -> Entry | None:
        return self.entries.get(Slot(slot))

    def put(self, entry: Entry) -> None:
        """Store what was accepted or learned. Slots that are forgotten must not come back."""
        assert entry.slot > self.compacted, (entry.slot, self.compacted)
        old = self.entries.get(entry.slot)
        assert old is None or old.ballot <= entry.ballot, (old, entry.ballot)
        self.entries[entry.slot] = entry
        self._note_config(entry)
        if entry.slot > self.last:
            self.last = entry.slot

    def _note_config(self, entry: Entry) -> None:
        if entry.kind is Kind.CONFIG:
            if entry.slot not in self._configs:
                self._configs = sorted([*self._configs, entry.slot])
        elif self._configs and entry.slot in self._configs:
            self._configs.remove(entry.slot)

    def has_config_between(self, after: Slot, before: int) -> bool:
        """Does a slot s, after < s < before, hold a change of the membership?"""
        return any(after < slot < before for slot in self._configs)

    def choose_next(self) -> None:
        """The slot after the chosen prefix, which is held, is chosen."""
        slot = Slot(self.chosen + 1)
        assert slot in self.entries, slot
        self.chosen = slot

    def held_at(self, ballot: Ballot) -> Slot:
        """The highest slot such that all after the chosen prefix up to it are held at `ballot`; amortised O(1)."""
        if ballot != self._run_ballot or self._run_last < self.chosen:
            self._run_ballot, self._run_last = ballot, self.chosen
        while (entry := self.entries.get(Slot(self._run_last + 1))) is not None and entry.ballot == ballot:
            self._run_last = entry.slot
        return self._run_last

    def since(self, first: int, upto: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries held in first..upto, in slot order, up to `bytes_max` of payload but at least one."""
        found: list[Entry] = []
        size = 0
        for slot in range(max(first, self.compacted + 1), min(upto, self.last) + 1):
            entry = self.entries.get(Slot(slot))
            if entry is None:
                continue
            size += len(entry.payload)
            if found and size > bytes_max:
                break
            found.append(entry)
        return tuple(found)

    def forget(self, upto: Slot) -> None:
        """Drop the entries up to `upto`, all of which are chosen."""
        assert upto <= self.chosen, (upto, self.chosen)
        for slot in range(self.compacted + 1, upto + 1):
            del self.entries[Slot(slot)]
        self.compacted = max(self.compacted, upto)
        self._configs = [slot for slot in self._configs if slot > upto]

    def jump(self, slot: Slot) -> None:
        """A snapshot covers everything up to `slot`, which lies beyond the chosen prefix; what was accepted above it stays."""
        assert slot > self.chosen, (slot, self.chosen)
        for old in sorted(self.entries):
            if old <= slot:
                del self.entries[old]
        self.compacted = self.chosen = slot
        self._configs = [config for config in self._configs if config > slot]
        self.last = max(self.last, slot)
