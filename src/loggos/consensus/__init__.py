"""The replicated log: Multi-Paxos, sans-IO. Events in, effects out; no clock, no socket, no meaning of bytes.

The engine (one object per log) is driven through this seam, and a second engine behind it must pass the same suite:

    step(sender, incarnation, message)   a peer's message, with the life of the sender that sent it
    tick(now_ms)                         time passes (monotonic milliseconds)
    peer_lost(node)                      the connection to a peer broke: if it was the leader's, an election starts at once
    propose(payload, kind=DATA) -> bool  append one batch; False: not the leader, not settled, or the window is full
    can_propose() -> bool                would it be taken?
    in_flight() -> int                   slots proposed and not chosen yet
    read_barrier(context)                ask for a linearizable read point; answered in Ready.reads
    admit(node, incarnation)             this voter came back empty under a new incarnation (rule 6): whoever leads
                                         proposes its Rejoin once it has caught up. For every hello, on every node
    ready() -> Ready | None              what to do now
    has_news() -> bool                   would `ready` give something?
    persisted(number)                    everything of Ready `number` is durable (and of all before it)
    applied(slot)                        the state machine has applied up to slot
    compact(slot)                        entries up to slot may be forgotten: a durable snapshot covers them
    snapshot_arriving()                  a part of one came: no entries are asked for meanwhile
    snapshot_installed(slot, membership, origin_applied, sender)   the state machine was replaced by a snapshot; `sender` is
                                         asked for what follows, for it keeps it
    snapshot_sent(node, slot, ok)        the transfer to a peer ended
    snapshot_wanted(slot) -> bool        would one at `slot` bring this node further?
    applied_state() -> Mark              (slot, membership, origin_applied) as of the applied slot: part of a snapshot
    peer_chosen(node) -> Slot            how far a peer is, as far as this node has heard
    attend(on)                           somebody at this node waits for what is chosen, and should hear of it at once
    peer_attended(node)                  somebody at a peer has begun to: what it asks for came (its heartbeats say the rest)
    pressure(on)                         as much waits for the disk as may: take no entries, propose none; or no longer
    step_down(why)                       give up leadership (hung disk, shutdown)
    status() -> Status

The driver's duties, in order, for every Ready:
1. Send `messages` at any time from now on; they may be lost, duplicated or reordered.
2. Persist `hard_state` and `entries`, one Ready after another; overlap with sending. Several Readys may share a write. Of what
   was not yet reported any part may survive a crash (the journal's torn tail rule), entries in their order.
3. When durable, call `persisted(number)`; send `messages_after` only then. A Ready with nothing to persist is persisted at once,
   but never before those ahead of it.
4. Apply `committed` in order, each once; then call `applied`. Applying does not wait for persistence.
5. For `send_snapshot`: stream one with slot >= the engine's first held slot - 1; report by `snapshot_sent`. Pin the log meanwhile
   (no `compact` beyond that slot). What a snapshot keeps of consensus is `applied_state()`.
6. After a received snapshot is durable and installed: `snapshot_installed`.
7. Call `ready` again until it gives None; call `tick` at least every 10 ms.
8. If anything fails to persist: stop the node. There is no retry.
9. A message from an older life of a peer may arrive: the incarnation given to `step` decides, so pass the one of the connection's
   hello. After a PeerError from `step` close that connection; the engine is unharmed.
10. Contexts of `read_barrier` are never used twice in one life of a node.
"""
