"""Advice: from what an application needs to the services and configuration that fit, why, and what is given up.

    needs.py       the needs, from TOML
    questions.py   the same, asked one by one
    regions.py     where voters go among regions: what a write costs, and what is survived
    services.py    what Loggos has today, what is planned, and what each was measured to do
    rules.py       the rules as data: when they apply, and the words they add
    advice.py      needs and rules to an advice
    sample.py      a sample application

Pure: text in, records out.
"""
