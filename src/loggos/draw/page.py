"""The look of every report: one style sheet, light and dark by the reader's wish, and the frame of a self-contained page.

Pure: text in, text out.
"""

from __future__ import annotations

from html import escape
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --page: #fbfbf9; --card: #ffffff; --rule: #dfe3e8;
  --blue: #2563a8; --wash: #2563a826; --red: #c0392b; --amber: #b26a00; --good: #1d7f4e; --plum: #7b4aa8; --teal: #0f7c86; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #9aa5b3; --page: #14181d; --card: #1c2229; --rule: #323b45;
  --blue: #6fb0f2; --wash: #6fb0f22e; --red: #f0786a; --amber: #e6a740; --good: #56c990; --plum: #c39bef;
  --teal: #4fc3cf; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
section + h1 { margin-top: 3.6rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p { margin: .4rem 0; max-width: 48rem; } .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 1rem 1.1rem; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .85rem; }
ul.proofs { list-style: none; margin: 0; padding: 0; } ul.proofs li { padding: .55rem 0 .55rem 2rem; position: relative; }
ul.proofs li + li { border-top: 1px solid var(--rule); } ul.proofs .mark { position: absolute; left: .2rem; font-weight: 700; }
.holds .mark { color: var(--good); } .fails .mark, .fails b { color: var(--red); }
ul.proofs div { color: var(--soft); font-size: .92rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
tr:last-child td { border-bottom: 0; } th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child, .words { text-align: left; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; } pre { margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; font-family: system-ui, sans-serif; }
.tick { fill: var(--soft); font-size: 12px; } .name { fill: var(--ink); font-size: 13px; }
.grid { stroke: var(--rule); stroke-width: 1; } .area { fill: var(--wash); }
.line { fill: none; stroke: var(--blue); stroke-width: 1.5; }
.bar { fill: var(--blue); } .leader { --mark: var(--red); } .holder { --mark: var(--amber); }
.band { fill: var(--mark); opacity: .14; } .edge { stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 4 3; }
.pin, .solid { fill: var(--mark); } .pin-text { fill: var(--card); font-size: 12px; font-weight: 700; }
.s0 { --mark: var(--blue); } .s1 { --mark: var(--amber); } .s2 { --mark: var(--good); } .s3 { --mark: var(--plum); }
.s4 { --mark: var(--red); } .s5 { --mark: var(--teal); }
.fill { fill: var(--mark); } .wash { fill: var(--mark); opacity: .16; } .hover { fill: transparent; }
.stroke { fill: none; stroke: var(--mark); stroke-width: 1.8; stroke-linejoin: round; } .dashed { stroke-dasharray: 6 4; }
.level { stroke: var(--red); stroke-width: 1.2; stroke-dasharray: 3 3; } .level-name { fill: var(--red); font-size: 12px; }
ul.words { margin: 0; padding-left: 1.2rem; } ul.words li { padding: .15rem 0; } section > .card + .card { margin-top: .8rem; }
td.words { white-space: normal; min-width: 6rem; } .answer { font-size: 1.25rem; font-weight: 600; margin: .9rem 0; }
ul.words { list-style-position: outside; } dl.groups > dt { font-weight: 600; }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document; `body` is HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
