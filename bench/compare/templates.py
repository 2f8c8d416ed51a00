"""Fills the configuration templates of `peers/`.

The templates are read by people who want to know what a peer was given, so the language is as small as can be and
never hides a line inside a line:

    {{name}}              the value; an unknown name is an error
    {{#if name}} / {{#if not name}} ... {{/end}}     whole lines, kept or dropped
    {{#each name as item}} ... {{/end}}              whole lines, once per value, with {{item}} set

Blocks may nest. A directive stands alone on its line.
"""

import re

_DIRECTIVE = re.compile(r"^\s*\{\{([#/])(.*?)\}\}\s*$")
_VALUE = re.compile(r"\{\{(\w+)\}\}")


class TemplateError(Exception):
    """A template that names something unknown, or whose blocks do not close."""


def render(text, values):
    """Returns `text` with every directive and value of it replaced from the dict `values`."""
    lines = text.splitlines()
    out, end = _render_block(lines, 0, values, nested=False)
    if end != len(lines):
        raise TemplateError(f"line {end + 1}: a block is closed that was never opened")
    return "\n".join(out) + "\n"


def _render_block(lines, index, values, nested):
    """Renders from `index` to the block's end; returns the lines and the index of the closing line (or the end)."""
    out = []
    while index < len(lines):
        directive = _DIRECTIVE.match(lines[index])
        if not directive:
            out.append(_VALUE.sub(lambda match: str(_look_up(match[1], values)), lines[index]))
            index += 1
        elif directive[1] == "/":
            break
        else:
            chosen, index = _render_directive(directive[2].split(), lines, index, values)
            out.extend(chosen)
    if nested and index == len(lines):
        raise TemplateError("a block is not closed")
    return out, index


def _render_directive(words, lines, index, values):
    """Renders one `#if` or `#each` that opens at `index`; returns its lines and the index after its end."""
    match words:
        case ["if", name]:
            passes = [values] if _look_up(name, values) else []
        case ["if", "not", name]:
            passes = [] if _look_up(name, values) else [values]
        case ["each", name, "as", item]:
            passes = [{**values, item: value} for value in _look_up(name, values)]
        case _:
            raise TemplateError(f"line {index + 1}: unknown directive {' '.join(words)!r}")
    end = _block_end(lines, index)
    out = []
    for inner in passes:
        out.extend(_render_block(lines[: end + 1], index + 1, inner, nested=True)[0])
    return out, end + 1


def _block_end(lines, index):
    """The index of the line that closes the block opened at `index`."""
    depth = 0
    for position in range(index, len(lines)):
        directive = _DIRECTIVE.match(lines[position])
        if directive:
            depth += 1 if directive[1] == "#" else -1
            if depth == 0:
                return position
    raise TemplateError(f"line {index + 1}: a block is not closed")


def _look_up(name, values):
    if name not in values:
        raise TemplateError(f"no value is called {name!r}")
    return values[name]
