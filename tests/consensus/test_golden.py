"""Golden transcripts: commands and the full trace of what the engines did, as text to be read in review.

Each file in tests/golden/consensus holds lines `> command …`, each followed by its trace. To write them anew after a
change, and then read the diff: LOGGOS_GOLDEN=write pytest tests/consensus/test_golden.py. Commands:

    voters 1 2 3 / learners 4         the cell (first command; learners optional, on the same line)
    stands N        N's patience ends         tick MS        time passes everywhere
    flush           deliver until silent      step           deliver what is under way now, in order
    lose A B [TYPE] drop what is under way from A to B
    propose N TEXT  read N                    hold N / release N   the disk of N does not answer / answers
    crash N / restart N / wipe N LIFE         cut A B / heal       one-way cuts
    break A B       the connection breaks     compact N            snapshot, and forget the log
    state N         what N has applied        resign N             step_down
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loggos.base.ids import NodeId
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from tests.consensus import planted
from tests.consensus.harness import World

FOLDER = Path(__file__).parents[1] / "golden" / "consensus"
BOUNDS = Bounds(  # what the transcripts were written with: tuning base/limits.py must not change them
    heartbeat_ms=50, election_timeout_ms=500, election_jitter_ms=250, election_stagger_ms=20, candidate_grace_ms=100,
    pre_vote_retry_ms=50, retransmit_ms=100, in_flight_slots=8, window_slots=64,
)  # fmt: skip
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))


class Player:
    """Runs the commands of one transcript."""

    def __init__(self, engine: type[Paxos] = Paxos) -> None:
        self.engine = engine
        self.lines: list[str] = []
        self.world = World()
        self.commands: dict[str, Callable[..., object]] = {
            "voters": self.voters, "stands": self.stands, "tick": self.tick, "flush": self.flush, "step": self.step,
            "lose": self.lose, "propose": self.propose, "read": self.read, "hold": self.hold, "release": self.release,
            "crash": self.crash, "restart": self.restart, "wipe": self.wipe, "cut": self.cut, "heal": self.heal,
            "break": self.break_link, "compact": self.compact, "state": self.state, "resign": self.resign,
        }  # fmt: skip

    def play(self, text: str) -> str:
        out: list[str] = []
        for line in text.splitlines():
            if line.startswith("#"):
                out.append(line)
            elif line.startswith("> "):
                name, *words = line[2:].split()
                self.lines = []
                self.commands[name](*words)
                out += ["", line, *("  " + each for each in self.lines)]
        return "\n".join(out).strip() + "\n"

    def voters(self, *words: str) -> None:
        split = words.index("learners") if "learners" in words else len(words)
        self.world = World(
            voters=[int(word) for word in words[:split]],
            learners=[int(word) for word in words[split + 1 :]],
            engine=self.engine,
            bounds=BOUNDS,
            bounds_random=False,
        )
        self.world.note = self.lines_append

    def lines_append(self, line: str) -> None:
        self.lines.append(line)

    def stands(self, node: str) -> None:
        found = self.world.nodes[NodeId(int(node))]
        found.engine.lose_leader()
        found.engine.election_due_ms = self.world.now
        found.engine.tick(self.world.now)
        found.pump()
        for other in self.world.nodes.values():  # nobody else's patience ends meanwhile
            other.engine.election_due_ms = self.world.now + 1_000

    def tick(self, ms: str) -> None:
        self.world.tick(int(ms))

    def flush(self) -> None:
        self.world.flush()

    def step(self) -> None:
        packets, self.world.network = self.world.network, []
        for packet in packets:
            self.world.deliver(packet)
        self.world.carry_snapshots()

    def lose(self, sender: str, to: str, kind: str = "") -> None:
        self.world.network = [
            packet
            for packet in self.world.network
            if (packet.sender, packet.to) != (int(sender), int(to)) or (kind and type(packet.message).__name__ != kind)
        ]

    def propose(self, node: str, text: str) -> None:
        if not self.world.propose(self.world.nodes[NodeId(int(node))], text.encode()):
            self.lines.append("refused")

    def read(self, node: str) -> None:
        self.world.ask_read(self.world.nodes[NodeId(int(node))])

    def hold(self, node: str) -> None:
        self.world.held[NodeId(int(node))] = True

    def release(self, node: str) -> None:
        self.world.held.pop(NodeId(int(node)))
        found = self.world.nodes[NodeId(int(node))]
        found.persist()
        found.pump()

    def crash(self, node: str) -> None:
        self.world.held.pop(NodeId(int(node)), None)
        self.world.crash(int(node))

    def restart(self, node: str) -> None:
        self.world.start(int(node))

    def wipe(self, node: str, life: str) -> None:
        self.world.wipe(int(node), int(life))

    def cut(self, sender: str, to: str) -> None:
        self.world.cut[(int(sender), int(to))] = True

    def heal(self) -> None:
        self.world.cut.clear()

    def break_link(self, one: str, other: str) -> None:
        for node, lost in ((one, other), (other, one)):
            found = self.world.nodes[NodeId(int(node))]
            found.engine.peer_lost(NodeId(int(lost)))
            found.pump()

    def compact(self, node: str) -> None:
        self.world.nodes[NodeId(int(node))].compact()

    def resign(self, node: str) -> None:
        found = self.world.nodes[NodeId(int(node))]
        found.engine.step_down("the transcript says so")
        found.pump()

    def state(self, node: str) -> None:
        found = self.world.nodes[NodeId(int(node))]
        self.lines.append(f"{node} is at slot {found.slot}: " + " ".join(each.decode() for each in found.state))


@pytest.mark.parametrize("name", NAMES)
def test_transcript(name: str) -> None:
    path = FOLDER / f"{name}.txt"
    expected = path.read_text(encoding="utf-8")
    played = Player().play(expected)
    if os.environ.get("LOGGOS_GOLDEN") == "write":
        path.write_text(played, encoding="utf-8")
        return
    assert played == expected, f"the trace changed: LOGGOS_GOLDEN=write pytest {__file__} -k {name}, then read the diff"


KILLED = [
    ("primary_order_hole_filled_by_older_leader", planted.PrimaryOrderByHighestOrigin),
    ("leader_change_with_gap", planted.PrimaryOrderDropped),
    ("leader_change_with_gap", planted.AdoptsAsItsOwn),
    ("slow_leader_disk", planted.SelfVoteBeforeDisk),
    ("election", planted.PromiseBeforeDisk),
    ("wiped_voter_does_not_vote", planted.AnyLifeVotes),
    ("read_before_settled", planted.ReadsUnsettled),
    ("nack_ends_old_term", planted.ReadsUnconfirmed),
    ("one_way_link", planted.NoCheckQuorum),
]


@pytest.mark.parametrize(("name", "engine"), KILLED)
def test_a_transcript_shows_a_planted_bug(name: str, engine: type[Paxos]) -> None:
    expected = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    try:
        played = Player(engine).play(expected)
    except AssertionError:
        return
    assert played != expected


def test_there_are_transcripts() -> None:
    assert len(NAMES) >= 12
