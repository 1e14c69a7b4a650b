"""Size and complexity of functions."""

from __future__ import annotations

import pytest

from functions import UnparsableError, measure


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n    elif b: pass\n    else: pass", 3),
        ("return a and b and c", 3),
        ("return a and (b or c)", 3),
        ("return a if b else c", 2),
        ("for x in y:\n        while x: pass", 3),
        ("try: a()\n    except KeyError: pass\n    except ValueError: pass\n    finally: b()", 3),
        ("return [x for x in y if x if x.z]", 4),
        ("assert a", 2),
        ("with a: pass", 1),
        ("match a:\n        case 1: pass\n        case _: pass", 3),
        ("return lambda: a or b", 2),
    ],
)
def test_complexity_counts_the_independent_paths(body: str, complexity: int) -> None:
    [(function, _)] = measure("f.py", f"def f():\n    {body}\n".encode())
    assert function.complexity == complexity


def test_nested_functions_and_methods_count_on_their_own() -> None:
    source = b"""\
class Outer:
    class Inner:
        async def method(self):
            def nested(x):
                return x if x else 0
            return nested

@decorated
def plain(): return 1 if True else 2
"""
    found = [function for function, _ in measure("f.py", source)]
    assert [(f.name, f.line, f.lines, f.complexity) for f in found] == [
        ("Outer.Inner.method", 3, 4, 1),
        ("Outer.Inner.method.nested", 4, 2, 2),
        ("plain", 9, 1, 2),
    ]


def test_the_docstring_is_not_part_of_the_body() -> None:
    documented = b'def f():\n    """What it does."""\n    return 1\n'
    bare = b"def f():\n    return 1\n"
    assert measure("f", documented)[0][1] == measure("f", bare)[0][1] == "    return 1"
    assert measure("f", b'def f():\n    """Only words."""\n')[0][1] == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"print 'x'\n", "SyntaxError: Missing parentheses"),
        (b"def f(:\n", "SyntaxError: "),
        (b"x = 1\0\n", "null byte"),
        (b"x = '\xe9'\n", "SyntaxError: invalid or missing encoding"),
        (b"# coding: ascii\nx = '\xe9'\n", "not ascii text"),
        (b"# coding: no-such\n", "SyntaxError: unknown encoding"),
        (b"(" * 5000 + b")" * 5000, "nested too deeply|too many nested parentheses"),
    ],
)
def test_what_is_not_python_gives_one_reason(source: bytes, reason: str) -> None:
    with pytest.raises(UnparsableError, match=reason):
        measure("f.py", source)


def test_depth_of_nesting_is_no_limit_to_the_walk() -> None:
    source = "def f():\n    return " + " + ".join(["x"] * 900) + "\n"
    assert len(measure("f.py", source.encode())) == 1
