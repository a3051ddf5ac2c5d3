"""What of an object or a log may leave the cluster in a report?

Pure. Rather too little than too much: what is not known to be harmless is left out, and says so. Must not know where
it goes.
"""

import re
from collections.abc import Mapping
from typing import Any

from checkpointheal_operator.core.annotations import PREFIX
from checkpointheal_operator.core.injection_parts import AGENT

LEFT_OUT = "(left out)"
OURS = "CHECKPOINTHEAL_"
SECRET_WORDS = re.compile(r"(token|key|secret|password|passwd|credential|auth)", re.IGNORECASE)
FILE_NAMES = ("_FILE",)
NO_SECRETS = ("key", "topologyKey", "secretName")
"""Fields of a pod that sound like secrets, and hold the name of one or of a label."""
FREE = ("volumeAttributes", "options")
"""What is said to a driver of somebody's: its keys may be called anything."""
KEPT_MARKS = (
    PREFIX,
    "apps.kubernetes.io/",
    "batch.kubernetes.io/",
    "jobset.sigs.k8s.io/",
    "kubernetes.io/config.",
    "leaderworkerset.sigs.k8s.io/",
    "ray.io/",
    "training.kubeflow.org/",
    "volcano.sh/",
)
"""Annotations that tell a pod's place, or come from the cluster itself."""
CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
_SCRUBBED = (
    # Each begins at the beginning of a word and goes back in none: a word may be as long as an annotation.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), LEFT_OUT),
    (re.compile(r"(?<![\w-])((?:(?!\beyJ)[\w-])*+)eyJ[\w-]{8,}+\.[\w-]++\.[\w-]*+"), rf"\1{LEFT_OUT}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {LEFT_OUT}"),
    (re.compile(r"(?<!\w)(\w++://)[^/\s:@]*+:[^/\s@]++@"), rf"\1{LEFT_OUT}@"),
    (
        re.compile(r"(?i)(\"name\": *\"(?=[^\"]*?(?:token|key|secret|passw))[^\"]*+\", *\"value\": *\")[^\"]*+"),
        rf"\1{LEFT_OUT}",
    ),
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), LEFT_OUT),
    (re.compile(r"\b(hf|ghp|gho|ghs|glpat|sk|xox[abp])[_-][\w-]{16,}"), LEFT_OUT),
    (
        re.compile(
            r"(?i)(?<![\w-])(?=[\w-]*?(?:token|api[_-]?key|secret|password|passwd|access[_-]?key))"
            r"([\w-]++[\"']?\s*+[=:]\s*+[\"']?)(?!\(left out\))[^\s\"',;&\[{(]+"
        ),
        rf"\1{LEFT_OUT}",
    ),
)


def scrubbed(text: str) -> str:
    """Without keys, tokens and passwords, as far as they can be told by their looks."""
    for pattern, instead in _SCRUBBED:
        text = pattern.sub(instead, text)
    return text


def redacted(found: Any) -> Any:
    """An object, or a part of one."""
    if isinstance(found, str):
        return scrubbed(found)
    if isinstance(found, list):
        return [redacted(each) for each in found]
    if not isinstance(found, Mapping):
        return found
    return {key: _part(key, value) for key, value in found.items() if key != "managedFields"}


def _part(key: str, value: Any) -> Any:
    if key in CONTAINERS and isinstance(value, list):
        return [_container(each) if isinstance(each, Mapping) else each for each in value]
    if key == "annotations" and isinstance(value, Mapping):
        return {name: redacted(text) if name.startswith(KEPT_MARKS) else LEFT_OUT for name, text in value.items()}
    if key in FREE and isinstance(value, Mapping):
        return LEFT_OUT
    if isinstance(value, str) and SECRET_WORDS.search(key) and key not in NO_SECRETS:
        return LEFT_OUT
    return redacted(value)


def _container(found: Mapping[str, Any]) -> dict[str, Any]:
    ours = found.get("name") == AGENT
    kept = {key: redacted(value) for key, value in found.items() if key not in (*PROBES, "env", "command", "args")}
    if "env" in found:
        kept["env"] = [_variable(each) for each in found["env"] or ()]
    words = [*(found.get("command") or ()), *(found.get("args") or ())]
    if words:
        kept["command"] = [scrubbed(str(each)) for each in words] if ours else [scrubbed(str(words[0])), LEFT_OUT]
    return kept


def _variable(found: Mapping[str, Any]) -> dict[str, Any]:
    """A reference names its source and holds nothing itself."""
    name = str(found.get("name"))
    kept = dict(found)
    if "value" in kept and not _is_harmless(name):
        kept["value"] = LEFT_OUT
    return kept


def _is_harmless(name: str) -> bool:
    return name.startswith(OURS) and (name.endswith(FILE_NAMES) or not SECRET_WORDS.search(name))
