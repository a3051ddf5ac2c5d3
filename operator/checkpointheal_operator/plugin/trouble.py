"""What do we say when we cannot go on: which thing is at fault, and what mends it?

Pure: from an error and what was asked to two sentences and an exit status. Must not know who prints them.
"""

from typing import NamedTuple

from checkpointheal.contract.base import shown
from checkpointheal_operator.api.base import GROUP
from checkpointheal_operator.shell.cluster import (
    ClusterError,
    Forbidden,
    Kind,
    NotKnown,
    NotThere,
    Refused,
    TooManyRequests,
)

FINE, AMISS, NO_ACCESS = 0, 1, 2
INSTALL = (
    "install the chart: helm install checkpointheal charts/checkpointheal -n checkpointheal-system --create-namespace"
)

INSTALLED = "app.kubernetes.io/part-of=checkpointheal"
"""The label of all that the chart makes, whatever its values."""
OUR_PODS = f"kubectl get pods -A -l {INSTALLED}"
LOOK_AT_OPERATOR = f"look at the operator: {OUR_PODS}"


class Trouble(Exception):
    """The verb cannot be done. `fix` is what a person may do about it, a line each. `deaf`: nothing else will do."""

    def __init__(self, sentence: str, fix: str = "", code: int = NO_ACCESS, *, deaf: bool = False) -> None:
        super().__init__(sentence)
        self.sentence, self.fix, self.code, self.deaf = sentence, fix, code, deaf
        self.kind: Kind | None = None
        """What was asked for, where anything was."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The fact, then the fix."""
        return tuple(map(shown, (self.sentence, *self.fix.splitlines())))


class Where(NamedTuple):
    """The API server, as the user knows it."""

    context: str
    url: str


class Request(NamedTuple):
    """What was asked of it. No namespace: of all of them, or of the cluster itself."""

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    part: str = ""
    """`log` of a pod."""

    @property
    def resource(self) -> str:
        """As a Role would name it."""
        group = self.kind.api.rpartition("/")[0]
        plural = self.kind.plural + (f"/{self.part}" if self.part else "")
        return plural if not group or "/" not in self.kind.api else f"{plural}.{group}"


def trouble_of(error: ClusterError, asked: Request, where: Where) -> Trouble:
    """Why it was not answered."""
    found = _trouble(error, asked, where)
    found.kind = asked.kind
    return found


def _trouble(error: ClusterError, asked: Request, where: Where) -> Trouble:
    match error:
        case Forbidden():
            return forbidden(asked)
        case NotKnown():
            return Trouble(
                f"the API server {where.url} does not know who you are: the credentials of context "
                f"{where.context!r} are wrong or have expired",
                "log in to the cluster again, until `kubectl auth whoami` answers",
                deaf=True,
            )
        case NotThere() if not asked.name and asked.kind.api.startswith(GROUP):
            return not_installed(asked.kind, where)
        case NotThere() if not asked.name:
            return Trouble(f"the cluster of context {where.context!r} knows no {asked.resource}", code=AMISS)
        case NotThere():
            return Trouble(f"there is no {asked.kind.kind} {_place(asked)}", code=AMISS)
        case TooManyRequests():
            return Trouble(f"the API server {where.url} is busy", f"try again in {error.after:g} seconds")
        case Refused():
            return Trouble(f"the API server refused to {asked.verb} {asked.resource}: {error}", "mend what it names")
    return unreachable(error, where)


def not_installed(kind: Kind, where: Where) -> Trouble:
    """The cluster does not know our kinds."""
    return Trouble(
        f"CheckpointHeal is not installed: the cluster of context {where.context!r} knows no {kind.plural}.{GROUP}",
        f"{INSTALL}\nor name another context with --context",
        AMISS,
    )


def forbidden(asked: Request) -> Trouble:
    """Which right is missing, and how to look at it."""
    there = f"in namespace {asked.namespace}" if asked.namespace else "in the whole cluster"
    scope = f" -n {asked.namespace}" if asked.namespace else " -A"
    narrower = "" if asked.namespace else ", or name one namespace with -n"
    role = "edit" if asked.verb == "patch" else "view"
    return Trouble(
        f"you may not {asked.verb} {asked.resource} {there}",
        f"ask for the verb {asked.verb!r} on {asked.resource}{narrower}; the ClusterRole `{role}` has it as a rule\n"
        f"kubectl auth can-i {asked.verb} {asked.resource}{scope} tells when it is there",
    )


def unreachable(error: ClusterError, where: Where) -> Trouble:
    """The server does not answer, or not as one should."""
    cause = error.__cause__
    if "certificate" in f"{type(cause).__name__} {cause}".lower():
        return Trouble(
            f"the certificate of the API server {where.url} is not trusted: {cause}",
            f"mend certificate-authority of the cluster of context {where.context!r} in the kubeconfig",
            deaf=True,
        )
    return Trouble(
        f"the API server {where.url} (context {where.context!r}) does not answer: {' '.join(str(error).split())}",
        "look whether the cluster is up and the network or VPN leads there; `kubectl version` asks the same",
        deaf=True,
    )


def _place(asked: Request) -> str:
    return f"{asked.namespace}/{asked.name}" if asked.namespace else asked.name
