"""What does the user want? The command line, and its help.

Must not know how anything is answered.
"""

import argparse

EXITS = "Exit status: 0 fine, 1 something is amiss, 2 usage or no access."
DRILL = """\
Asks the operator for a drill, waits, and prints how it went. A member's agent asks another replica's for its state as
for a heal, receives and verifies it, and keeps nothing. Training goes on; a real heal ends a drill at once. It is
carried out only while every member trains, and by another pair each time."""
REPORT = """\
Writes a .tar.gz that helps others to help you. Inside: CheckpointHeals, Heals, opted-in Pods, Events about them, the
webhook's configuration, the operator's Pods; the ends of the operator's, the webhook's and the agents' logs; what
`status` and `history` print; versions; and what could not be read.

Not inside: Secrets and your trainers' logs, which are never read. Left out of Pods: values of environment variables
(but those of CHECKPOINTHEAL_ variables that are no secrets), all but the first word of your containers' commands, their
probes, annotations that say nothing about a pod's place, what volumes tell their drivers. Whatever is called or looks
like a token, a key or a password is left out everywhere. Names of pods, nodes, images and labels are inside: look
through it before you give it away."""


def parser() -> argparse.ArgumentParser:
    """Every verb; `inject` and `deadlines` have command lines of their own."""
    top = argparse.ArgumentParser(
        prog="kubectl checkpointheal",
        description="How training jobs stand that CheckpointHeal protects, and why.",
        epilog=f"`kubectl checkpointheal VERB --help` tells the rest. {EXITS}",
    )
    top.add_argument("-V", "--version", action="store_true", help="print the version of this plugin")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    _status(verbs)
    _explain(verbs)
    _history(verbs)
    _watch(verbs)
    _drill(verbs)
    _report(verbs)
    verbs.add_parser("inject", help="write manifests as the webhook would have them, without a cluster", add_help=False)
    verbs.add_parser("deadlines", help="which deadlines follow from one number, without a cluster", add_help=False)
    return top


def _status(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(verbs, "status", "what is amiss, with its remedy; then each job with its members and heals")
    _everywhere(verb)
    verb.epilog = "Exit status: 0 all is well, 1 something is amiss, 2 usage or no access."


def _explain(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(verbs, "explain", "a pod: its agent, its place, its policy, and its latest heal with every candidate")
    verb.add_argument("pod", metavar="POD", help="name of the pod, or POD/2 for its local rank 2")


def _history(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(verbs, "history", "heals, oldest first: who, why, from whom, how much, how long")
    _everywhere(verb)
    verb.add_argument("-l", "--selector", default="", metavar="LABELS", help="only heals with these labels")
    verb.add_argument("--policy", default="", metavar="NAME", help="only heals under this CheckpointHeal")
    verb.add_argument("--pod", default="", metavar="NAME", help="only heals that this pod received or gave")
    verb.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="how to write them")


def _watch(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(verbs, "watch", "jobs and transfers as they go, until Ctrl-C; lines where there is no terminal")
    _everywhere(verb)


def _drill(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(verbs, "drill", "rehearse a heal: a member receives a state, verifies it and keeps nothing")
    verb.description = DRILL
    verb.epilog = "Exit status: 0 a heal would work, 1 it would not, or the drill was refused; 2 usage or no access."
    verb.add_argument("name", nargs="?", default="", metavar="NAME", help="of the CheckpointHeal, where there are many")
    verb.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="how long to wait for its end (%(default)g)"
    )


def _report(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(verbs, "report", "gather what helps others to help you into one file, without secrets")
    verb.description = REPORT
    _everywhere(verb)
    verb.add_argument("-o", "--output", default="", metavar="FILE.tar.gz", help="where to write it (a new file)")
    verb.add_argument(
        "--operator-namespace",
        default="",
        metavar="NAMESPACE",
        help="where the operator is installed (default: any; if you may not list pods in all, checkpointheal-system)",
    )


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, does: str
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("-n", "--namespace", default="", metavar="NAME", help="instead of the context's own")
    verb.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig, instead of the current one")
    verb.add_argument("--kubeconfig", default="", metavar="FILE", help="instead of KUBECONFIG or ~/.kube/config")
    return verb


def _everywhere(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("-A", "--all-namespaces", action="store_true", help="look at all namespaces")
