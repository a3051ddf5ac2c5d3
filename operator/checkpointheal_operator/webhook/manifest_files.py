"""How are manifests read and written, so that kubectl finds the same in them?

kubectl reads go-yaml's mixture of YAML 1.1 and 1.2, PyYAML reads YAML 1.1: to the one `1e-4` and `0o17` are numbers, to
the other `12:30:00` and `2026-12-01`. Read as the first does, and quoted where either would not see a string. Must not
know what a manifest means.
"""

import math
import re
from typing import Any

import yaml

STRING, _TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = (_TAG + each for each in ("null", "bool", "int", "float"))


def _spelt(*words: str) -> tuple[str, ...]:
    return tuple(spelling for each in words for spelling in (each, each.capitalize(), each.upper()))


_TRUE = frozenset(_spelt("y", "yes", "true", "on"))
_FALSE = frozenset(_spelt("n", "no", "false", "off"))
_BOUNDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = (
    dict.fromkeys(("", "~", *_spelt("null")), _NULL) | dict.fromkeys(_TRUE | _FALSE, _BOOL) | {"<<": _TAG + "merge"}
)
_WHOLE = re.compile(r"[-+]?(0[bB][01]+|0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_OCTAL = re.compile(r"[-+]?0[oO]?[0-7]")
_BROKEN = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def read_as(text: str) -> str:
    """The tag that go-yaml gives an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    digits = _digits(text)
    if digits is not None and _WHOLE.fullmatch(digits):
        return _INT
    return _FLOAT if digits is not None and (_BROKEN.fullmatch(digits) or _BOUNDLESS.fullmatch(text)) else STRING


def read(text: str) -> list[dict[str, Any]]:
    """The manifests of a file. Raises YAMLError."""
    return [each for each in yaml.load_all(text, Loader=_Reader) if isinstance(each, dict)]


def write(documents: tuple[dict[str, Any], ...]) -> str:
    """A file of manifests."""
    return str(yaml.dump_all(documents, Dumper=_Writer, sort_keys=False, width=120))


def _digits(text: str) -> str | None:
    """What is looked at where it may be a number: go-yaml takes the underscores out, but behind a leading point."""
    if text[:1] == ".":
        return text
    return text.replace("_", "") if text[:1] in "+-0123456789" else None


class _Reader(yaml.SafeLoader):
    """Dates are strings, as the API server takes them."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return read_as(value)
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def _said(reader: _Reader, node: yaml.ScalarNode) -> str:
    return str(reader.construct_scalar(node))


def _truth(reader: _Reader, node: yaml.ScalarNode) -> bool:
    return _said(reader, node) in _TRUE


def _whole(reader: _Reader, node: yaml.ScalarNode) -> int:
    digits = _number(reader, node, _WHOLE)
    return int(digits, 8 if _OCTAL.match(digits) else 0)


def _broken(reader: _Reader, node: yaml.ScalarNode) -> float | str:
    """One that is too large for a number is a string."""
    text = _said(reader, node)
    if _BOUNDLESS.fullmatch(text):
        return float(text.replace(".", "", 1))
    found = float(_number(reader, node, _BROKEN))
    return found if math.isfinite(found) else text


def _number(reader: _Reader, node: yaml.ScalarNode, pattern: re.Pattern[str]) -> str:
    """Somebody may have written the tag himself, before anything."""
    digits = _digits(_said(reader, node))
    if digits is None or not pattern.fullmatch(digits):
        raise yaml.constructor.ConstructorError(problem="this is not a number", problem_mark=node.start_mark)
    return digits


_Reader.add_constructor(_BOOL, _truth)
_Reader.add_constructor(_INT, _whole)
_Reader.add_constructor(_FLOAT, _broken)
_Reader.add_constructor(_TAG + "timestamp", _said)


class _Writer(yaml.SafeDumper):
    """Without anchors, and with certificates that can be read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """What may stand unquoted has the same tag to everybody."""
        found = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return read_as(value) if found == STRING and kind is yaml.ScalarNode and implicit[0] else found


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(STRING, text, style="|" if "\n" in text else None)


_Writer.add_representer(str, _text)
