"""Which job orders each pod what, where many share one hub?

A pod that one job lets go another may have taken over; who spoke and is nobody's is told so. Must not know how jobs are
looked at.
"""

from collections.abc import Collection

from checkpointheal.contract.orders import Orders
from checkpointheal_operator.core.orders import of_holders, of_rivals, of_strangers, of_supernumeraries
from checkpointheal_operator.gateway.hub import Hub
from checkpointheal_operator.shell.look import Looked
from checkpointheal_operator.shell.mirror import Key
from checkpointheal_operator.shell.speakers import Speakers

NO_POLICY = Orders(revision=1, withdrawn=True)


class Switchboard:
    """Between the jobs, by the keys of their policies, and the hub."""

    def __init__(self, hub: Hub, speakers: Speakers) -> None:
        self._hub, self._speakers = hub, speakers
        self._ordered: dict[Key, dict[str, Orders]] = {}
        self._whose: dict[str, Key] = {}
        self._strangers: frozenset[str] = frozenset()

    def whose(self, pod_uid: str) -> Key | None:
        """The job that orders that pod anything."""
        return self._whose.get(pod_uid)

    def order(self, key: Key, standing: dict[str, Orders]) -> bool:
        """What a job orders its pods; whether others may be nobody's now.

        One that another job has taken over since is not its any more.
        """
        before = self._ordered.get(key)
        gone = [uid for uid in (before or {}).keys() - standing.keys() if self._whose.get(uid) == key]
        for uid in gone:
            del self._whose[uid]
        self._ordered[key] = standing
        self._whose |= dict.fromkeys(standing, key)
        self._hub.change(standing, gone)
        return bool(gone) or before is None

    def leave(self, key: Key) -> bool:
        """That job is nobody's any more; whether pods may be, too."""
        let_go = self.order(key, {})
        del self._ordered[key]
        return let_go

    def tell_strangers(self, jobs: Collection[Key]) -> None:
        """A pod that has spoken and that no job orders anything is told that there is no policy for it.

        Not while it may be one of a job of its namespace that was not looked at yet, of those there are.
        """
        unsure = {key.namespace for key in jobs if key not in self._ordered}
        unsure |= {""} if unsure else set()  # of pods whose namespace is not known
        spoke = (each.report.pod_uid for each in self._hub.heard if each.report.pod_uid not in self._whose)
        found = frozenset(uid for uid in spoke if self._speakers.namespace(uid) not in unsure)
        self._hub.change(dict.fromkeys(found, NO_POLICY), self._strangers - found - self._whose.keys())
        self._strangers = found


def orders_of(found: Looked) -> dict[str, Orders]:
    """Of two pods that claim a place, its holder's are its orders; the other hears why it has none.

    So does one that claims a place which there is not, and one of another job.
    """
    view = found.view
    if found.instead is not None:
        return {**of_strangers(view), **{pod.uid: found.instead for pod in view.pods}}
    standing = of_holders(view, found.decisions[-1])
    if len(standing) == len(view.pods):
        return {**of_strangers(view), **standing}
    return {**of_strangers(view), **of_rivals(view), **of_supernumeraries(view), **standing}
