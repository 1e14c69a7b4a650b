"""The style of a report, for light and dark.

Invariant: text and lines are readable on both; colours tell apart what stands next to each other.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = (
    """
:root { color-scheme: light dark; --back: #ffffff; --text: #1c2430; --soft: #5b6675; --line: #dde2e8;
  --c0: #2f6fd6; --c1: #e08a1e; --c2: #2c9a68; --c3: #b653b0; --c4: #c9462c; --c5: #1597a5; --c6: #8a7a1d;
  --c7: #8b94a1; --used: #2c9a68; --unfilled: #9fd3b8; --idle: #f0bf57; --starting: #6aa0ee; --draining: #a7afba; }
@media (prefers-color-scheme: dark) { :root { --back: #12161c; --text: #e4e8ee; --soft: #9aa5b4; --line: #2b333e;
  --c0: #6aa2ff; --c1: #f0a84c; --c2: #4fc48c; --c3: #d583d0; --c4: #ef7a61; --c5: #47c3d1; --c6: #c4b24a;
  --c7: #77818f; --used: #43b37e; --unfilled: #245c43; --idle: #c9962c; --starting: #3f74c4; --draining: #5f6976; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1360px; background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 28px 0 4px; }
h3 { font-size: 14px; margin: 12px 0 2px; }
h4 { font-size: 13px; margin: 4px 0; color: var(--soft); overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; color: var(--soft); }
.note, .legend, .bar { margin: 2px 0 6px; color: var(--soft); font-size: 13px; }
.bar { margin-top: 10px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 8px 24px; }
.pair > div { min-width: 0; }
.scroll { overflow: auto; max-height: 560px; margin-top: 8px; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 3px 14px 3px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; position: sticky; top: 0; background: var(--back); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; max-width: 860px; height: auto; }
.chart { overflow-x: auto; }
.chart svg { min-width: 440px; }
.grid { stroke: var(--line); }
.line { stroke-width: 1.6; stroke-linejoin: round; }
.axis { fill: var(--soft); font: 11px system-ui, sans-serif; }
.key { display: inline-block; margin-right: 16px; }
.key i { display: inline-block; width: 10px; height: 10px; margin-right: 5px; }
"""
    + "\n".join(
        f".{name} {{ fill: var(--{colour}); background: var(--{colour}); }}"
        for name, colour in (
            *((f"c{index}", f"c{index}") for index in range(8)),
            *((name, name) for name in ("used", "unfilled", "idle", "starting", "draining")),
            ("ready", "used"),
        )
    )
    + "".join(f"\n.line.c{index} {{ fill: none; stroke: var(--c{index}); }}" for index in range(8))
)
