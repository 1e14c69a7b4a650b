"""One Python file -> its functions, each with size, complexity and the text of its body. Pure.

Invariant: a file either gives its functions or one reason why it cannot be parsed; nothing else escapes.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from importlib.util import decode_source

_ONE_PATH = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.match_case,
)
_DECISIONS = frozenset((*_ONE_PATH, ast.comprehension, ast.BoolOp))
_LEAVES = frozenset((ast.Constant, ast.Name, ast.Load, ast.Store, ast.Del, ast.alias, ast.Pass, ast.Global))


class UnparsableError(Exception):
    """The file is not Python that this interpreter understands; the message is the reason."""


@dataclass(frozen=True, slots=True, order=True)
class Function:
    """One function or method, also nested ones."""

    path: str
    line: int
    name: str
    """Qualified within the file: ``Class.method``, ``outer.inner``."""
    lines: int
    """From ``def`` to the end of the body, decorators not counted."""
    complexity: int
    """McCabe's: 1 + if, for, while, except, assert, case, comprehension (and its ifs), each extra and/or."""


def measure(path: str, source: bytes) -> list[tuple[Function, str]]:
    """The functions of one file in the order of their lines, each with the text of its body.

    Complexity belongs to the innermost function: what a nested function decides does not count outside. Its
    text does belong to the text around it. The docstring is not part of the body.

    Args:
        path: name of the file for the results; nothing is read.
        source: the file's bytes in any encoding that Python understands.

    Raises:
        UnparsableError: not Python; the message is the reason in a few words.
    """
    text, tree = _parse(source)
    lines = text.split("\n")
    found = [
        (Function(path, node.lineno, name, (node.end_lineno or node.lineno) - node.lineno + 1, paths), node)
        for name, paths, node in _functions(tree)
    ]
    found.sort(key=lambda pair: (pair[0].line, pair[1].col_offset, pair[0].name))
    return [(function, _body(node, lines)) for function, node in found]


def _parse(source: bytes) -> tuple[str, ast.Module]:
    try:
        text = decode_source(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the files' own style, not about this program
            return text, ast.parse(text)
    except SyntaxError as error:
        raise UnparsableError(f"SyntaxError: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise UnparsableError(f"not {error.encoding} text") from error
    except ValueError as error:
        raise UnparsableError(f"ValueError: {error}") from error
    except (RecursionError, MemoryError) as error:  # what the parser says to nesting without end
        raise UnparsableError("nested too deeply") from error


Definition = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.Module) -> list[tuple[str, int, Definition]]:
    """Every function with its qualified name and complexity, found with an explicit stack: no depth limit."""
    found: list[tuple[str, Definition]] = []
    paths: list[int] = [1]  # of the module itself, dropped at the end; then of each function found
    pending: list[tuple[ast.AST, int, str]] = [(tree, 0, "")]
    while pending:
        node, owner, scope = pending.pop()
        for field in node._fields:
            value = getattr(node, field, None)
            children = value if value.__class__ is list else (value,)
            for child in children:
                kind = child.__class__
                if kind in _LEAVES or not isinstance(child, ast.AST):
                    continue
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    name = f"{scope}{child.name}"
                    found.append((name, child))
                    paths.append(1)
                    pending.append((child, len(found), f"{name}."))
                elif isinstance(child, ast.ClassDef):
                    pending.append((child, owner, f"{scope}{child.name}."))
                else:
                    if kind in _DECISIONS:
                        paths[owner] += _extra_paths(child)
                    pending.append((child, owner, scope))
    return [(name, paths[index], node) for index, (name, node) in enumerate(found, 1)]


def _extra_paths(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return 1


def _body(node: Definition, lines: list[str]) -> str:
    """Whole lines: exact columns would cost more than they tell for the few bodies that share a line."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if documented and len(node.body) == 1:
        return ""
    start = node.body[1] if documented else first
    return "\n".join(lines[start.lineno - 1 : node.end_lineno])
