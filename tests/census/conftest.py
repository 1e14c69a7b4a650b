"""A small tree of Python files that has one of everything a census may meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from sources import Source, sources_under

ORIGINAL = '''
def total(orders, rates):
    """What the orders cost."""
    amount = 0
    for order in orders:
        if order.paid and not order.cancelled:
            amount += order.quantity * rates[order.currency] * 1.2
        elif order.refund:
            amount -= order.refund.amount
    while rates.stale() or rates.next is None:
        amount = rates.next.convert(amount, {"from": 1, "to": 2})
    return round(amount, 2)
'''
RENAMED = """
class Ledger:
    def summe(self, bestellungen, kurse):
        # the same in other words
        ergebnis = 0
        for bestellung in bestellungen:
            if bestellung.paid and not bestellung.cancelled:
                ergebnis += bestellung.quantity * kurse[bestellung.currency] * 1.19
            elif bestellung.refund:
                ergebnis -= bestellung.refund.amount
        while kurse.stale() or kurse.next is None:
            ergebnis = kurse.next.convert(ergebnis, {"von": 1, "nach": 3})
        return round(ergebnis, 2)
"""
NEAR = ORIGINAL.replace("return round(amount, 2)", "print(amount)\n    return round(amount, 2)")
UNRELATED = """
def walk(tree):
    try:
        while tree.left is not None:
            with tree.lock, open(tree.name) as file:
                tree = tree.left or tree.right
                yield from (line.strip() for line in file if line.strip() and line[0] != "#")
    except (OSError, ValueError) as error:
        raise RuntimeError("lost") from error
    finally:
        del tree

def short(x):
    return x
"""


@pytest.fixture
def tree(tmp_path: Path) -> list[Source]:
    """Eleven files; three near-duplicates in three files, one file for every way not to parse."""
    files = {
        "a/original.py": ORIGINAL.encode(),
        "a/unrelated.py": UNRELATED.encode(),
        "b/renamed.py": RENAMED.encode(),
        "b/near.py": NEAR.encode(),
        "b/empty.py": b"",
        "bad/python2.py": b"print 'hello'\n",
        "bad/null.py": b"x = 1\0\n",
        "bad/latin.py": b"name = '\xe9'\n",
        "bad/deep.py": b"(" * 5000 + b")" * 5000,
        "good/latin.py": b"# -*- coding: latin-1 -*-\nname = '\xe9'\n",
        "good/warns.py": b"pattern = '\\d'\n",
    }
    for name, content in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sources_under(tmp_path / "tree", "tree")
