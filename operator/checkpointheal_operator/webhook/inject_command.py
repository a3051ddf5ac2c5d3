"""`checkpointheal inject -f FILE`: what would the webhook make of this file?"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from checkpointheal.contract.base import shown
from checkpointheal_operator.core.injected import Injection
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.webhook.__main__ import build
from checkpointheal_operator.webhook.manifest_files import read, write
from checkpointheal_operator.webhook.render import Manifest, Rendered, render

GATEWAY = "https://checkpointheal.checkpointheal-system.svc:8443"
REFUSED, USAGE_ERROR = 1, 2
ROOTLESS = (
    "an agent made so ends at once, for it knows no gateway's root: to apply this, give --settings and --gateway-root, "
    "which are settings.json of the ConfigMap checkpointheal-injection and root.pem of checkpointheal-gateway-root in "
    "the operator's namespace (docs/injection.md has the commands)"
)


def main(argv: Sequence[str] | None = None, called: str = "checkpointheal inject") -> int:
    """Write the injected manifests. Exit status 1 where something that opted in has no agent, or one of no use.

    Of no use is one that knows no root: it is shown to whoever looks at a terminal, and else kept from being applied.
    """
    asked = parser(called).parse_args(argv)
    try:
        settings = _settings(asked.settings, asked.gateway_root)
        rendering = render(_documents(asked.file), settings)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        sys.stderr.write(f"{called}: {' '.join(str(error).split())}\n")
        return USAGE_ERROR
    rootless = any(each.rootless for each in rendering.said)
    withheld = rootless and not sys.stdout.isatty()
    if not withheld:
        sys.stdout.write(write(rendering.documents))
    sys.stderr.writelines(f"{told(each)}\n" for each in rendering.said)
    if rootless:
        sys.stderr.write(f"{called}: {'nothing is written: ' if withheld else ''}{ROOTLESS}\n")
    refused = any(not isinstance(each.answer, Injection) and each.answer.warnings for each in rendering.said)
    return REFUSED if refused or withheld else 0


def parser(called: str) -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=called,
        description="Write manifests as the webhook would have them; standard error says what became of each.",
        epilog="Comments are lost. Exit status: 0, or 1 where something that opted in could not be injected, or where "
        "agents would know no gateway's root and the output is no terminal: then nothing is written.",
    )
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="manifests as YAML or JSON; - is the input")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the webhook's settings (the chart's defaults)")
    parser.add_argument("--gateway-root", type=Path, metavar="PEM", help="whom agents believe that it is the gateway")
    return parser


def told(rendered: Rendered) -> str:
    """One line about a pod or template, and one more for each of its notes."""
    answer = rendered.answer
    said = answer.report if isinstance(answer, Injection) else answer
    return "\n".join((f"{shown(rendered.name)}: {said.reason}: {said.message}", *_notes(answer)))


def _notes(answer: object) -> tuple[str, ...]:
    return answer.warnings if isinstance(answer, Injection) else ()


def _documents(file: str) -> list[Manifest]:
    return read(sys.stdin.read() if file == "-" else Path(file).read_text())


def _settings(file: Path | None, root: Path | None) -> InjectionSettings:
    found = InjectionSettings(image=f"checkpointheal/agent:{build() or 'latest'}", gateway=GATEWAY)
    if file is not None:
        found = InjectionSettings.model_validate_json(file.read_bytes())
    update = {"build": build()} | ({"gateway_root": root.read_text()} if root is not None else {})
    return found.but(**update)
