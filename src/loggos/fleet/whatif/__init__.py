"""What if this trace had been scheduled otherwise? A recorded trace, replayed under any policy, and what that shows.

trace.py     a folder of CSV files in, nodes and pods out; bad rows are named by file and line
replay.py    pods one after the other, for ever or until they end, and what was measured on the way
report.py    results as rows for a terminal, and as one self-contained HTML page
"""
