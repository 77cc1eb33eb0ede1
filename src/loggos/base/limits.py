"""Every bound on a queue, buffer, loop or retry, with its unit and its reason. No other module holds such a number.

Names end in their unit. Tests may build objects with smaller bounds through constructor arguments.
"""

from __future__ import annotations

from typing import Final

# --- consensus -----------------------------------------------------------------------------------------------------------
HEARTBEAT_MS: Final = 50  # how often a leader proves itself; also the touch relay's period
ELECTION_TIMEOUT_MS: Final = 500  # silence before a follower suspects a leader whose connection still stands (paused, cut off)
ELECTION_JITTER_MS: Final = 250  # added at random, so that two candidates seldom start together
# a follower that is told so is cut off only if it is told so again after this long: after a pause its answers are on their way
UNHEARD_GRACE_MS: Final = 150
PRE_VOTE_RETRY_MS: Final = 50  # how soon a candidate without an answer asks again
RETRANSMIT_MS: Final = 100  # unacknowledged Accepts are sent again after this long
RETRANSMIT_BACKOFF_MS_MAX: Final = 2_000  # or later: on ways seen to be slow, and doubling while the follower gets no further
RETRANSMIT_BYTES_MAX: Final = 512 << 10  # entries sent again at a time, unless a single one is larger: as LEARN_BYTES_MAX
IN_FLIGHT_SLOTS_MAX: Final = 8  # slots proposed and not yet chosen
TURN_MS_MAX: Final = 20  # of one turn of a node, looked at after each Ready: the rest of a long log is for the next turn
# while a slot is in flight the next waits for it and so gathers more, unless it has this much already, or the last one left this
# long ago when the loop next turns (a tick later at most): disks and links near by are served best by few large slots, far
# ones by many at once
EARLY_SLOT_BYTES: Final = 16 << 10
EARLY_SLOT_MS: Final = 2
# when a slot is chosen, its clients come back: the next one waits for them until this share of all that were in that slot or
# behind it is there again, but not for longer than this
GATHER_SHARE: Final = 0.75
GATHER_MS: Final = 1
GATHERS_LEFT_OUT_MAX: Final = 63  # slots that wait for nobody after a wait that was in vain: 1, 3, 7, … of them
WINDOW_SLOTS: Final = 64  # alpha: a proposer works only on slots up to its chosen prefix plus this (rule 4)
BATCH_BYTES_MAX: Final = 1 << 20  # payload of one slot, unless a single command is larger; bounds one disk write
COMMAND_BYTES_MAX: Final = (1 << 20) + 4096  # one client frame with its run header
MESSAGE_ENTRIES_BYTES_MAX: Final = 4 << 20  # entries in one peer message
# entries in one answer to a node that catches up, unless a single one is larger: what a heartbeat may have to wait behind, 85 ms
# at 6 MB/s; one such answer a round trip is still 5 MB/s at 100 ms
LEARN_BYTES_MAX: Final = 512 << 10
FETCH_BACKOFF_MS_MAX: Final = 2_000  # an unanswered Fetch is repeated after RETRANSMIT_MS, doubling up to this
FETCH_PATIENCE_MS_MAX: Final = 10_000  # and later on ways that have been seen to be slow, but not later than this
LOG_TAIL_BYTES: Final = 8 << 20  # applied entries kept in memory for followers that lag a little
LOG_TAIL_PINNED_BYTES_MAX: Final = 256 << 20  # the same while a snapshot travels; beyond it the transfer starts again
# a lost connection starts elections in voter order, this far apart: duels are rare and fail-over stays quick
ELECTION_STAGGER_MS: Final = 20
CANDIDATE_GRACE_MS: Final = 100  # a voter that has just promised grants nobody else a pre-vote for this long
SNAPSHOT_WAIT_MS: Final = 2_000  # a node that was offered a snapshot asks for entries again after this long
READ_ROUNDS_MAX: Final = 8  # read barrier rounds on their way at once; later barriers share the next one
READ_WAITING_MAX: Final = 4_096  # barriers of one node that wait for a round, and asks a leader holds; beyond it they are refused

# --- storage -------------------------------------------------------------------------------------------------------------
SEGMENT_BYTES: Final = 16 << 20  # one journal file, preallocated with zeros
FIRST_SEGMENT_BYTES: Final = 1 << 20  # the very first one: a new node serves before 16 MB of zeros are on its disk
# a snapshot is made after the journal grew by this much (or by the last snapshot's size)
SNAPSHOT_JOURNAL_BYTES: Final = 64 << 20
SNAPSHOT_LOW_DIVISOR: Final = 8  # on a disk that is nearly full snapshots are made after this part of SNAPSHOT_JOURNAL_BYTES
SNAPSHOT_SLICE_BYTES: Final = 256 << 10  # one slice: about 2 ms of encoding
SNAPSHOTS_KEPT: Final = 2
SNAPSHOT_CHUNKS_AHEAD: Final = 16  # chunks sent and not yet stored by the receiver: about 4 MB
# a receiver that stores nothing, or a sender that sends nothing, for this long is given up; the receiver asks again
SNAPSHOT_TRANSFER_STALL_MS: Final = 10_000
SNAPSHOT_YIELD_MS: Final = 2_000  # a transfer without a chunk for this long gives way to one from the leader
SNAPSHOT_TRIES_MAX: Final = 2  # snapshots made for one transfer until the log in memory joins on to one
LOG_PIN_IDLE_MS: Final = 10_000  # a node that got a snapshot and fetches nothing for this long has no log kept for it any more
SNAPSHOT_FRAME_BYTES_MAX: Final = 16 << 20  # one chunk of a snapshot: checked before it is allocated
SNAPSHOT_SYNC_BYTES: Final = 8 << 20  # a snapshot in the making is synced after this much, so that the last sync is short
DIRECT_WRITE_BYTES_MAX: Final = 1 << 18  # a journal batch of up to this goes past the page cache, by way of a buffer of this size
JOURNAL_SECTOR_BYTES: Final = 512  # batches start on a sector, so that a torn write touches no sector of an earlier batch
# zeros written at a time when a segment is preallocated: the disk is shared with the hot path
JOURNAL_FILL_BYTES: Final = 1 << 20
DISK_ANSWER_TIMEOUT_MS: Final = 400  # a leader whose disk does not answer for this long gives up leadership (rule 10)
# entries that wait for the disk, in Readys merged into one journal batch: further Readys form the next one
PERSIST_BATCH_BYTES_MAX: Final = 8 << 20
# entries that wait for a disk that is slow, full or hangs; beyond it this node takes no more until half of them are written
PERSIST_PENDING_BYTES_MAX: Final = 32 << 20
DISK_FULL_RETRY_MS: Final = 500  # how often a write that found the disk full is tried again
DISK_HANG_STOP_MS: Final = 30_000  # and after this long the node stops
DISK_RESERVE_BYTES: Final = 64 << 20  # free space below which a leader takes no writes: what is left is for snapshots
DISK_SPACE_CHECK_MS: Final = 1_000  # how often free space is looked at, beside the hot path
DISK_LOW_RESIGN_MS: Final = 10_000  # a leader without room gives up leadership this often, for another node may have some
JOURNAL_HOLD_BYTES_MAX: Final = 4 << 10  # a batch up to this waits for the end of the turn; larger ones come with long turns
DISK_CLOSE_TIMEOUT_MS: Final = 5_000  # at closing, writes that the disk has not confirmed by then are abandoned

# --- node ----------------------------------------------------------------------------------------------------------------
PEER_FRAME_BYTES_MAX: Final = 16 << 20
PEER_QUEUE_BYTES_MAX: Final = 32 << 20  # unsent bytes to one peer; beyond it messages are dropped (consensus sends again)
PEER_RECONNECT_MS: Final = 50
PEER_REFUSAL_LOG_MS: Final = 60_000  # a peer that is refused for the same reason again is not told of again until then
PEER_REFUSALS_KNOWN_MAX: Final = 100  # reasons remembered; beyond them none is told of
# an attempt to dial a peer is given up after this long: the system alone would repeat its first packet after 1, 2, 4, 8, … s, and
# a peer that came back would wait for the next one; far above a round trip between regions
PEER_DIAL_MS: Final = 1_000
PEER_SUSPECT_MS: Final = 1_000  # a connection older than this is dialled anew once the peer turns out to have been away
PEER_NEWCOMERS_MAX: Final = 64  # connections to the peer port without a hello so far; beyond it the oldest of them is closed
PEER_HELLO_DEADLINE_MS: Final = 5_000  # and one that has said none by then: a peer says it at once
PEER_HELLO_BYTES_MAX: Final = 64 << 10  # that such a connection may send: a hello has some hundred bytes
# bytes that a peer's machine does not confirm for this long end the connection: by itself TCP would wait up to 120 s between
# two attempts, and a peer that came back would hear nothing meanwhile
PEER_USER_TIMEOUT_MS: Final = 5_000
PROPOSALS_BYTES_MAX: Final = 16 << 20  # commands waiting for a leader or a slot on one node; beyond it doors stop reading
LOG_EVENTS_BURST: Final = 20  # lines of one kind that services may write to the log of events at once
LOG_EVENTS_PER_S: Final = 1.0  # and for how long: so whoever causes them cannot fill the disk, or hide others in them
LOG_FILE_BYTES_MAX: Final = 16 << 20  # of the log file in the data directory; one older file is kept
TICK_MS: Final = 10  # the replica's timer
FIRST_START_LOG_MS: Final = 2_000  # how often a node that waits for the other founding voters says so
BARRIER_TIMEOUT_MS: Final = 5_000

# descriptors of a process that are not for its doors: journal, snapshots, logs, listeners and the loop take about 30, connections
# that are accepted in one turn and not yet refused up to 96 where the loop is asyncio's own
DESCRIPTORS_RESERVED: Final = 128
DESCRIPTORS_PER_PEER: Final = 4  # one connection each way, and each once more while it is replaced
SMALL_DOOR_SHARE: Final = 16  # the console and newcomers at the peer port get at most one in so many descriptors each

REMOTE_CREDIT_BYTES: Final = 4 << 20  # commands that one following process has proposed and not seen applied
REMOTE_QUEUE_BYTES_MAX: Final = 32 << 20  # unsent bytes to one following process; beyond it it is cut off and syncs again
REMOTE_BACKLOG_BYTES_MAX: Final = 256 << 20  # log that a following process keeps while the state it builds on is still arriving
REMOTE_CONNECTIONS_MAX: Final = 64  # following processes of one node, with room for those that reconnect
REMOTE_OPEN_DEADLINE_MS: Final = 10_000  # a local connection that has not said what it wants by then is closed
REMOTE_STALL_MS: Final = 10_000  # a following process that takes nothing of its snapshot for this long is cut off
REMOTE_RECONNECT_MS: Final = 50
REMOTE_BARRIERS_MAX: Final = 8  # barrier rounds of one following process on their way at once; later barriers share the next one
REMOTE_BATCH_BYTES: Final = 4 << 20  # a batch longer than this reaches a following process in several frames

# --- coordination and its front door -------------------------------------------------------------------------------------
JUTE_FRAME_BYTES_MAX: Final = 0xFFFFF  # jute.maxbuffer: 1,048,575
SESSION_TICK_MS: Final = 2_000  # ZooKeeper's tickTime: session timeouts are clamped to [2, 20] ticks
SESSION_TICK_MS_MIN: Final = 50  # a shorter tick would end sessions between two touches (HEARTBEAT_MS)
SESSION_TICK_MS_MAX: Final = (2**31 - 1) // 20  # a session timeout of 20 ticks travels in a signed 32-bit field
CONNECTIONS_MAX: Final = 20_000  # of clients; fewer where the process may not have so many descriptors (app/room.py)
CONNECTIONS_MIN: Final = 16  # a process that has no room for so many clients is no node
SILENT_LOOKED_AT_MAX: Final = 1_024  # connections without a session, oldest first, of which a silent one is to make room
CONNECT_DEADLINE_MS: Final = 10_000  # a connection that has not sent its connect request by then is closed
CLIENT_OUTPUT_BYTES_MAX: Final = 16 << 20  # unread replies of one client; beyond it the connection is closed
CLIENT_PIPELINE_MAX: Final = 10_000  # unanswered requests of one connection; beyond it the door stops reading
# input that is no whole request, waiting requests and unread output of all clients of a node together; beyond it those who hold
# most are disconnected: room for eight that read nothing at all, or for 128 of the longest requests
CLIENTS_HELD_BYTES_MAX: Final = 128 << 20
CLIENTS_HELD_PAUSE_BYTES: Final = 64 << 20  # the same; beyond it nothing more is read from those who hold most
CLIENTS_HELD_LOOK_MS: Final = 1_000  # how often they are looked for: 20,000 are sorted in about 10 ms
# from a request's first byte to its last, unless the longest session timeout is longer: 1 MiB at 280 kbit/s. In ZooKeeper only
# whole requests keep a session alive
FRAME_DEADLINE_MS: Final = 30_000
CATCH_UP_WAIT_MS: Final = 200  # a client that has seen more than this node waits so long for it, then finds another
CLIENT_EARLY_BYTES_MAX: Final = 64 << 10  # a client may send this before its connect request is answered; more is not read
PATH_BYTES_MAX: Final = 4_096
MULTI_OPERATIONS_MAX: Final = 10_000
CHILDREN_BYTES_MAX: Final = JUTE_FRAME_BYTES_MAX  # a listing that would not fit a frame
EPHEMERALS_PER_SESSION_MAX: Final = 50_000  # bounds the apply of one session's end (rule 16)
AUTH_IDS_PER_CONNECTION_MAX: Final = 64
WATCHES_PER_CONNECTION_MAX: Final = 200_000

# --- benchmarks ----------------------------------------------------------------------------------------------------------
BENCH_START_DEADLINE_S: Final = 60.0  # a cluster that does not serve by then has failed; JVMs on a loaded machine need 10 s
BENCH_STOP_DEADLINE_S: Final = 10.0  # after SIGTERM, before SIGKILL
BENCH_REPLY_DEADLINE_S: Final = 20.0  # a load without any reply for this long has failed; longer than any fail-over
BENCH_POLL_S: Final = 0.02  # how often a starting or recovering node is asked; small against what is measured, cheap on 2 cores

# --- client --------------------------------------------------------------------------------------------------------------
# places in lock queues given up while disconnected, to be removed on return; about 200 bytes each
LOCKS_ABANDONED_MAX: Final = 10_000
ACL_TABLE_MAX: Final = 4_096  # distinct access control lists shared between znodes; a cache, emptied when full
RESTORE_STEP_ITEMS: Final = 500  # of a snapshot that is installed, between two turns of the loop: about 1 ms
SNAPSHOT_SLICE_ITEMS: Final = 2_000  # items one snapshot slice looks at: about 2 ms, also where they take few bytes
SCRUB_SLICE_ITEMS: Final = 250  # items that one step of a full digest looks at: about 0.3 ms
SCRUB_PAUSE_MS: Final = 10  # between two such steps: a full digest takes 3 % of the loop, and 40 s for a million items
# the cell's time between two full digests, and for each item of the state: either way they take less than 1 % of the loop
SCRUB_EVERY_MS: Final = 1 << 14
SCRUB_ITEM_MS: Final = 1
SCRUB_IDLE_MS: Final = 60_000  # a log that stands still for this long has its state compared where it stands
# how often a node tells again the newest of its digests: to those that were away, and for what the network dropped
DIGEST_AGAIN_MS: Final = 2_000
CONNECT_FRAME_BYTES_MAX: Final = 1_024  # the first frame of a connection: 44 or 45 bytes from every known client
# half of all, so that one address cannot take every connection; of fewer where there is room for fewer
CONNECTIONS_PER_ADDRESS_MAX: Final = 10_000
CLIENT_PIPELINE_BYTES_MAX: Final = 4 << 20  # unanswered request bytes held for one connection; beyond it the door stops reading
# reads of one connection that wait for its own writes: bounds the replies made at once to 64 MB
CLIENT_WAITING_READS_MAX: Final = 64
MULTI_READ_BYTES_MAX: Final = 4 << 20  # results of one multi read: what Java clients take in one packet
CENSUS_SLICE_NODES: Final = 5_000  # nodes counted at a time by getAllChildrenNumber and for mntr: about 1.5 ms of the loop
CENSUS_PAUSE_MS: Final = 4  # between two slices: a million nodes take about a second, and a quarter of the loop meanwhile
CENSUS_WAITING_MAX: Final = 1_024  # counts of more nodes than that which wait for each other on one node
CLIENT_OUTPUT_COUNT_BYTES: Final = 16 << 10  # unread replies of one client from which on they count among all that clients hold
CLIENT_OUTPUT_PAUSE_BYTES: Final = 1 << 20  # unread replies of one client after which the door stops reading from it
REQUESTS_PER_COMMAND_MAX: Final = 1_000  # requests in one run: bounds one apply to about 5 ms (rule 16)
SESSION_BUCKET_MS: Final = 100  # deadlines of sessions are rounded up to this, so that a tick costs nothing per session
SESSIONS_EXPIRED_PER_COMMAND_MAX: Final = 64  # bounds the apply of one EXPIRE (rule 16)
SESSIONS_EXPIRED_PER_TICK_MAX: Final = 256  # and what one tick proposes: 5,000 sessions a second
# how often the leader looks for empty containers; one that is so at two looks goes: within a minute, as in ZooKeeper
CONTAINER_CHECK_MS: Final = 30_000
CONTAINERS_REAPED_PER_CHECK_MAX: Final = 10_000  # as there: ten thousand a minute
CONTAINERS_REAPED_PER_TICK_MAX: Final = 64  # one command: bounds its apply (rule 16), and a mass of them leaves room for clients
EXPIRE_RETRY_MS: Final = 2_000  # a proposed expiry that was not seen applied by then is proposed again
LOOP_STALL_MS: Final = 500  # a tick later than this is a stall of this process: it is not counted against any session
# without a known leader for this long clients are sent away: of the shortest session (4 s) a client that pings every third has
# 2.7 s left, less up to 0.8 s until the leader's loss is noticed, and it needs some to move
LEADERLESS_CLOSE_MS: Final = 1_500
# without one for this long, clients that connect are sent on at once: an election after a crash is over sooner, and a node that
# is cut off would only hold them up
LEADERLESS_REFUSE_MS: Final = 150
TOUCHES_PER_NOTE_MAX: Final = 8_192  # session ids in one note to the leader: 64 KB
BENCH_RELAY_BYTES_MAX: Final = 16 << 20  # held back in one direction of one connection; beyond it the relay stops reading

# --- console ---------------------------------------------------------------------------------------------------------------
CONSOLE_CONNECTIONS_MAX: Final = 64  # scrapers and a few browsers; beyond it the oldest connection is closed
CONSOLE_REQUEST_BYTES_MAX: Final = 16 << 10  # a request's head
CONSOLE_DEADLINE_MS: Final = 10_000  # from connecting to the end of the answer

# --- command line ----------------------------------------------------------------------------------------------------------
UP_START_TIMEOUT_MS: Final = 60_000  # a local cluster that does not serve by then is given up
UP_STOP_TIMEOUT_MS: Final = 10_000  # a node that does not stop by then is killed
STATUS_TIMEOUT_MS: Final = 3_000  # one node's answer to `loggos status`
STATUS_BYTES_MAX: Final = 1 << 20  # what is read of such an answer: a cell of 255 nodes is told in 20 KB

# --- tour ------------------------------------------------------------------------------------------------------------------
# anything the tour waits for; far above what a loaded machine needs, so that only a real failure ends it
TOUR_WAIT_S: Final = 60.0
TOUR_POLL_S: Final = 0.03  # how often it looks: small against a fail-over, cheap on 2 cores
TOUR_STATUS_TIMEOUT_S: Final = 0.3  # one look at a console: a paused node does not answer, and workers' pipes hold more than this
TOUR_STOP_DEADLINE_S: Final = 5.0  # after asking a process to end, before SIGKILL
TOUR_RETRY_S: Final = 0.02  # a worker's first delay after a broken connection; the delays grow to ten times this

# --- exploring in simulation -----------------------------------------------------------------------------------------------
# of the wall clock, for a process with two seeds (10 s when quiet): only a loop without end takes longer
SIM_PROCESS_TIMEOUT_S: Final = 900.0
SIM_SEEDS_MAX: Final = 100_000  # in one call: days of work
SIM_SHRINK_RUNS_MAX: Final = 60  # runs spent on making one failing schedule smaller: about five minutes
SIM_SHRUNK_FAILURES_MAX: Final = 4  # of one call; the others are printed with the command that shrinks them
SIM_VIOLATIONS_SHOWN_MAX: Final = 5  # of one seed; the first ones tell most

# --- load balancing: pool, middleware ----------------------------------------------------------------------------------------
METER_WINDOW_S: Final = 10.0  # latencies older than this no longer say how fast a server is now
METER_SAMPLES_MAX: Final = 16  # kept for one number of requests in flight: a median that is steady and still follows in time
METER_LEVELS_MAX: Final = 256  # numbers of requests in flight that are told apart; with the samples, 4,096 pairs of floats
LOAD_HEADER_BYTES_MAX: Final = 4 << 10  # a load report that is longer is not read: ours has 60 bytes
POOL_ENDPOINTS_MAX: Final = 10_000  # in one pool: beyond it every client should see a subset
POOL_REFRESH_S: Final = 10.0  # how often a source is asked for members, unless told otherwise
POOL_STOP_TIMEOUT_S: Final = 5.0  # for the background thread of a pool that is closed; it is a daemon, so nothing hangs on it
HEALTH_INTERVAL_S: Final = 5.0  # between two active checks of one end point: with two failures, 10 s to notice an idle death
HEALTH_TIMEOUT_S: Final = 1.0  # for one check: far above a round trip between regions
PROBE_TIMEOUT_S: Final = 0.5  # a probe's answer that is older says nothing of the load now
PROBES_IN_FLIGHT_MAX: Final = 64  # of one pool; more are not sent: a hung end point must not gather them
PROBE_CONNECTIONS_KEPT_MAX: Final = 4  # idle ones to one end point
PROBE_BODY_BYTES_MAX: Final = 64 << 10  # of an answer to a check or probe; a health page is smaller
PROBE_READ_BYTES: Final = 16 << 10  # one read of such an answer
HEALTH_IN_FLIGHT_MAX: Final = 64  # checks of one pool at once
POOL_FIRST_MEMBERS_TIMEOUT_S: Final = 5.0  # a request waits this long for the first answer of a pool's source
POOL_FIRST_RETRY_S: Final = 0.5  # a source that has named nobody yet is asked again after this long
CALL_TRIES: Final = 3  # of one call: the first and two retries, at three different end points
CALL_TRIES_MAX: Final = 10  # more is not patience but load
CALL_BACKOFF_S: Final = 0.025  # the first pause is drawn from 0 to this, and doubles; a retry goes elsewhere, so it is short
CALL_BACKOFF_S_MAX: Final = 0.25  # a pause is drawn from 0 to this at the most

# --- planning: measurements and forecasts ------------------------------------------------------------------------------------
OBSERVE_LINE_BYTES_MAX: Final = 1 << 20  # one line of a measurement file; longer ones are no measurements
OBSERVE_POINTS_MAX: Final = 5_000_000  # values read from one source, all series together: 24 bytes each while reading
OBSERVE_SERIES_MAX: Final = 10_000  # series of one source: about 1 KB each
OBSERVE_COLUMNS_MAX: Final = 1_000  # columns of one CSV file
OBSERVE_DOCUMENT_BYTES_MAX: Final = 64 << 20  # a JSON document or an HTTP answer: held whole, and decoded about 6 times larger
OBSERVE_GRID_POINTS_MAX: Final = 2_000_000  # of a regular grid: a year of 16-second steps
FINDINGS_PER_KIND_MAX: Final = 5  # shown one by one; the rest is counted
PROMETHEUS_POINTS_MAX: Final = 11_000  # steps the server allows in one range query
PROMETHEUS_PIECES_MAX: Final = 1_000  # range queries that one request is cut into: 11 million points
PROMETHEUS_TIMEOUT_S: Final = 30.0  # for one answer
FORECAST_POINTS_MAX: Final = 100_000  # of a history: 11 years of hours; measured below a minute
FORECAST_PERIOD_MAX: Final = 2_016  # steps in a season: a week of five-minute steps
FORECAST_SIMULATED_MAX: Final = 20_000_000  # paths × steps held at once: 160 MB
FORECAST_ORIGINS_MAX: Final = 8  # backtest origins: every model is fitted that often
FORECAST_ETS_POINTS_MAX: Final = 2_016  # the recent history that exponential smoothing is fitted on: 12 weeks of hours

# --- capacity planning: mathematics ----------------------------------------------------------------------------------------
PLANNER_SERVERS_MAX: Final = 1_000_000  # of one station: Erlang's recursion over them takes about 0.1 s
PLANNER_QUEUE_CAPACITY_MAX: Final = 1_000_000  # requests inside M/M/c/K: a few vectors of 8 MB
# steps of an exact mean value analysis, population vectors times stations: about 10 s
PLANNER_MVA_STEPS_MAX: Final = 2_000_000
# population vectors of an exact convolution, which takes the square of it: about 10 s
PLANNER_CONVOLUTION_STATES_MAX: Final = 10_000
PLANNER_SWEEPS_MAX: Final = 100_000  # of an approximate analysis; it usually needs tens
PLANNER_MEMBERS_MAX: Final = 10_000  # nodes in one exact availability: its dynamic programme takes the square of it
PLANNER_SEARCH_STEPS_MAX: Final = 300  # of one search for parameters; one that finds its way takes about 20
PLANNER_FOLDS_MAX: Final = 10  # parts of the points that are held back in turn, each of which costs one more fit

# --- resource management -----------------------------------------------------------------------------------------------------
FLEET_DEVICES_PER_NODE_MAX: Final = 64  # GPUs: above the largest machines sold; bounds what is looked at per node
FLEET_TASKS_PER_JOB_MAX: Final = 100_000  # one job's tasks: ten times the fleet that one scheduler is made for
FLEET_CHANGES_KEPT: Final = 65_536  # node changes that candidate lists can catch up with; who is further behind starts anew
FLEET_MIX_CLASSES_MAX: Final = 256  # task classes in the workload that fragmentation is measured against, the most frequent ones
FLEET_MEMO_MAX: Final = 200_000  # node states whose fragmentation is remembered: about 100 MB
FLEET_VICTIM_SETS_MAX: Final = 2_000  # sets of victims tried per node before the search falls back to a greedy one: about 5 ms
FLEET_VICTIM_NODES_MAX: Final = 64  # nodes searched for victims, those with the fewest in sight first
FLEET_EVICTIONS_PER_ROUND_MAX: Final = 1_000  # a round that wants more goes on in the next one
FLEET_MOVES_PER_ROUND_MAX: Final = 100  # of a rebalancing, unless its caller says otherwise
FLEET_REASONS_MAX: Final = 8  # of one explanation; the first ones tell most

# --- balance: policies, filters, guards -----------------------------------------------------------------------------------
BALANCE_VIEWS_MAX: Final = 32  # views a policy keeps a table for: the zones of a site, and a few before the last change
CHOICES_MAX: Final = 64  # end points compared by power of d choices: beyond that a full scan is cheaper and better
SAMPLE_TRIES_MAX: Final = 8  # draws per wanted place with unequal weights, until fewer than wanted have to do
PROBES_PER_PICK_MAX: Final = 16  # probes that one request may cause
PROBE_POOL_MAX: Final = 1_024  # answers kept by one balancer; the paper's pools have 16, and each pick looks at all
PROBE_REPORTS_KEPT: Final = 128  # last reports that the hot threshold of Prequal is a quantile of
RING_POINTS_MAX: Final = 1_000_000  # points of one hash ring: about 100 MB, 1.3 s to build
MAGLEV_SLOTS_MAX: Final = 5_000_011  # slots of a Maglev table, as Envoy has it: 40 MB, 13 s to fill
LATENCIES_KEPT: Final = 1_024  # last latencies that hedging and deadlines take quantiles of: 1 in 100 is 10 samples
CONCURRENCY_MAX: Final = 1_000_000  # the most that an adaptive concurrency limit may be told to grow to

# --- discrete-event simulation -----------------------------------------------------------------------------------------------
DES_EVENTS_MAX: Final = 1_000_000_000  # of one run: half an hour; a model that has not ended by then feeds itself
DES_IDLE_TIMERS_MIN: Final = 1_024  # timers called off are swept out of the queue when they are half of it, and this many
FARM_SERVERS_MAX: Final = 100_000  # of one simulated farm: what a million events a second still move
FARM_BALANCERS_MAX: Final = 10_000

# --- capacity planning: plans ------------------------------------------------------------------------------------------------
PLAN_REPLICAS_PLACED_MAX: Final = 1_000_000  # partition replicas that a plan places one by one: about 10 s; more are counted
PLAN_REPLICAS_EACH_MAX: Final = 15  # replicas of one partition that are tried: more than any system keeps
PLAN_STRICTER_TRIES: Final = 8  # halvings of the outage that voters and replicas are allowed, until all parts together fit
