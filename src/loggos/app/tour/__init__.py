"""The guided tour: `loggos tour` runs chapters, each a real thing done on a real cluster, and proves what it claims.

- `main`: the chapters and their exit code; `screen`: what a person sees;
- `lock_chapter`: chapter one, a lock that survives; `worker`: one of its worker processes; `records`: what workers tell;
- `processes`: the nodes and workers as operating-system processes; `warden`: ends them if the tour is killed;
- `proofs`, `figures`: pure: records in, verdicts and numbers out; `report`, `charts`: the same as one HTML page.

Nothing here may know how Loggos works inside: nodes are started by the command line, spoken to by public protocols and
by their console's pages.
"""
