"""The exceptions to the tidy rules, each with its reason. An entry that nothing needs any more fails, so the tables only shrink.

Keys are (path, qualified function name); the name is "" for module level. A path alone names a whole file.
"""

from __future__ import annotations

# The longest function that exists. It may only go down; `dev.py test-full` fails when it is not tight.
LONGEST_FUNCTION_LINES = 62

LONG_FILES: dict[str, str] = {}

LONG_FUNCTIONS: dict[tuple[str, str], str] = {}

# Supervision, and code that is not ours (user mappers, third-party decoders): nowhere else.
BROAD_EXCEPTS: dict[tuple[str, str], str] = {
    ("src/loggos/balance/pool/calls.py", "Call._try"): "the caller's function: its error is judged, and raised if it is the last",
    ("src/loggos/balance/pool/calls.py", "_try_in_thread"): "the same, in a thread",
    ("src/loggos/balance/pool/upkeep.py", "Upkeep._keep_asking"): "the user's source: whatever it raises, known members stay",
    ("src/loggos/balance/pool/upkeep.py", "Upkeep._keep_watching"): "the same, for a source that is watched",
    ("src/loggos/balance/pool/upkeep.py", "Upkeep._probe_one"): "the user's probe: without a report the choice goes on",
    ("src/loggos/client/keeper.py", "Keeper._run_callbacks"): "runs the user's callbacks; other locks must still be looked after",
    ("src/loggos/node/replica.py", "Replica.peer_frame"): "supervision: a transport would only log it; the node stops",
    ("src/loggos/node/replica.py", "Replica._turn"): "supervision: a turn that fails leaves an unknown state, and stops the node",
    ("src/loggos/sim/loop.py", "_close_quietly"): "closes what a crashed host left; what it raises comes after its death",
    ("src/loggos/sim/transport.py", "SimTransport._call"): "supervision: an error in a protocol ends its connection, reported",
}

# The implementations of the Spawner port, and what runs beneath it.
BARE_TASKS: dict[tuple[str, str], str] = {
    ("src/loggos/app/bench/relay.py", "Link.connection_made"): "a helper process of the benchmark; the link holds its task",
    ("src/loggos/balance/pool/background.py", "Background._spawn"): "a pool lives in its user's loop, and reports its tasks",
    ("src/loggos/host/world.py", "HostSpawner.spawn"): "the Spawner port itself, real",
    ("src/loggos/sim/world.py", "SimWorld.run"): "the root task of a simulation: whoever runs it gets its error",
    ("src/loggos/sim/world.py", "_LifeSpawner.spawn"): "the Spawner port itself, simulated",
}

# Folders and files of src whose job is to talk to a person.
PRINTS: dict[str, str] = {
    "src/loggos/app/bench/": "what `loggos bench` shows, and what its helper processes tell their parent",
    "src/loggos/app/simulation/main.py": "what `loggos sim` shows",
    "src/loggos/app/simulation/progress.py": "how far `loggos sim` is",
    "src/loggos/cli/": "the command line: its output is what it is for",
}
