"""A plan or an advice as one HTML page, or as Markdown: the answer first, then why, what else, and what to measure next.

    blocks.py      what a report is made of: headings, words, tables, tiles, plots
    html.py        blocks to a self-contained page
    markdown.py    blocks to Markdown; a plot becomes its numbers
    of_plan.py     a plan, or a refusal, to blocks
    of_advice.py   an advice to blocks
    data.py        both as plain data for programs
    figures.py     the plots of a plan

Pure: records in, text out.
"""
