"""What would the webhook make of these manifests?

Pods, and the templates of what makes pods, each injected in its place; everything else comes back as it went in. Pure:
no cluster, no files. Must not know YAML.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from checkpointheal.contract.base import shown
from checkpointheal_operator.core.identity import Unplaced
from checkpointheal_operator.core.injected import Injection, NotInjected, Operation, refuse
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_home import is_rootless
from checkpointheal_operator.core.injection_parts import AGENT, Seat
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.pod_manifest import Metadata, PodManifest
from checkpointheal_operator.core.promises import Workload, promise
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.webhook.opted_in import Path, opted_in

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What was said of one pod or template."""

    name: str
    answer: Injection | NotInjected
    rootless: bool = False
    """Whether its agent, as it is now, could believe no gateway."""


@dataclass(frozen=True)
class Rendering:
    """The manifests afterwards, and what was said of each pod or template in them."""

    documents: tuple[Manifest, ...]
    said: tuple[Rendered, ...]


def render(documents: Sequence[Manifest], settings: InjectionSettings) -> Rendering:
    """Inject everything that opted in, of the kinds that are known here. Nothing that is given is written to."""
    changed, said = copy.deepcopy(list(documents)), []
    for document in (each for whole in changed for each in _unlisted(whole)):
        known = dict(templates(document))
        for path, workload in known.items():
            pod = _at(document, path)
            answer = inject(pod, settings, _promised(pod, workload))
            if isinstance(answer, Injection):
                apply(pod, answer.patch)
            said.append(Rendered(_told(document, path), answer, isinstance(answer, Injection) and _is_rootless(pod)))
        said += [_of_no_known_kind(document, path) for path in opted_in(document) if path not in known]
    return Rendering(tuple(changed), tuple(said))


def apply(document: Manifest, patch: Sequence[Operation]) -> None:
    """Carry out a patch in place. Its operations are all additions."""
    for step in patch:
        *above, last = (key.replace("~1", "/").replace("~0", "~") for key in step.path.split("/")[1:])
        parent: Any = document
        for key in above:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        value = copy.deepcopy(step.value)
        if isinstance(parent, list):
            parent.insert(len(parent) if last == "-" else int(last), value)
        else:
            parent[last] = value


def templates(document: Manifest) -> Iterator[tuple[Path, Workload]]:
    """Where a manifest has pods, and what is known of them. A manifest that is not as it should be has none."""
    group, kind = str(document.get("apiVersion", "")).rpartition("/")[0], str(document.get("kind", ""))
    find = _KINDS.get((group, kind))
    if find is not None:
        job = str(_at(document, ("metadata",)).get("name", ""))
        yield from ((path, each) for path, each in find(document, job) if _at(document, path))


def _of_no_known_kind(document: Manifest, path: Path) -> Rendered:
    return Rendered(_told(document, path), refuse(Reason.KIND_UNKNOWN, kind=shown(str(document.get("kind")))))


def _told(document: Manifest, path: Path) -> str:
    metadata = _at(document, ("metadata",))
    return "/".join(map(str, (document.get("kind"), metadata.get("name") or metadata.get("generateName", ""), *path)))


def _unlisted(document: Manifest) -> Iterator[Manifest]:
    if document.get("kind") == "List":
        yield from (each for _, each in _each(document, "items"))
    else:
        yield document


def _is_rootless(pod: Manifest) -> bool:
    agent = PodManifest.model_validate(pod).spec.init_container(AGENT)
    return agent is not None and is_rootless(agent)


def _promised(pod: Manifest, workload: Workload) -> Seat | Unplaced | None:
    try:
        return promise(Metadata.model_validate(pod.get("metadata") or {}), workload)
    except ValidationError:
        return None  # injection reads the same, and says what is wrong with it


def _pod(_: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    yield (), Workload("Pod", job)


def _one_template(document: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    yield ("spec", "template"), Workload(document["kind"], job)


def _job(document: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    indexed = _at(document, ("spec",)).get("completionMode") == "Indexed"
    yield ("spec", "template"), Workload("Job" if indexed else "Job without indices", job)


def _jobset(document: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    for path, each in _each(document, "spec", "replicatedJobs"):
        spec = _at(each, ("template", "spec"))
        size = _number(spec.get("completions"), _number(spec.get("parallelism"), 1))
        workload = Workload("JobSet", job, groups=_number(each.get("replicas"), 1), size=size)
        yield (*path, "template", "spec", "template"), workload


def _leader_worker_set(document: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    spec = _at(document, ("spec",))
    size = _number(_at(spec, ("leaderWorkerTemplate",)).get("size"), 1)
    for name in ("leaderTemplate", "workerTemplate"):
        workload = Workload("LeaderWorkerSet", job, groups=_number(spec.get("replicas"), 1), size=size)
        yield ("spec", "leaderWorkerTemplate", name), workload


def _pytorch_job(document: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    for role in _at(document, ("spec", "pytorchReplicaSpecs")):
        path = ("spec", "pytorchReplicaSpecs", role, "template")
        yield path, Workload("PyTorchJob", job, role=str(role).lower())


def _volcano(document: Manifest, job: str) -> Iterator[tuple[Path, Workload]]:
    for path, _ in _each(document, "spec", "tasks"):
        yield (*path, "template"), Workload("Volcano", job)


_KINDS: Mapping[tuple[str, str], Callable[[Manifest, str], Iterator[tuple[Path, Workload]]]] = {
    ("", "Pod"): _pod,
    ("apps", "StatefulSet"): _one_template,
    ("apps", "Deployment"): _one_template,
    ("apps", "ReplicaSet"): _one_template,
    ("apps", "DaemonSet"): _one_template,
    ("batch", "Job"): _job,
    ("batch.volcano.sh", "Job"): _volcano,
    ("jobset.x-k8s.io", "JobSet"): _jobset,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): _leader_worker_set,
    ("kubeflow.org", "PyTorchJob"): _pytorch_job,
}


def _at(part: Any, path: Path) -> Manifest:
    """The mapping at the end of the path; an empty one where there is none."""
    for key in path:
        known = key in part if isinstance(part, dict) else isinstance(part, list) and isinstance(key, int)
        part = part[key] if known else {}
    return part if isinstance(part, dict) else {}


def _each(document: Manifest, *path: str) -> Iterator[tuple[Path, Manifest]]:
    """The mappings in a list, with their paths."""
    *above, last = path
    listed = _at(document, tuple(above)).get(last)
    for index, each in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(each, dict):
            yield (*path, index), each


def _number(said: Any, otherwise: int) -> int:
    return said if isinstance(said, int) else otherwise
