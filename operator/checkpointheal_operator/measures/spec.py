"""What is measured, under which name, and what does each number mean?

The only place where a metric is spelled; `docs/metrics.md` is compared with it. No label ever holds the name of a pod,
a job or a namespace: their number has no bound. Must not know when anything is counted.
"""

from typing import Literal, NamedTuple

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Seconds: of an answer of ours; of a heal, which may wait for a pod."""


class Spec(NamedTuple):
    """One metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = QUICK


HEALS_OPENED = Spec("checkpointheal_heals_opened_total", "counter", "Heals opened, by cause.", ("cause",))
HEALS = Spec(
    "checkpointheal_heals_total",
    "counter",
    "Heals whose conclusion this process wrote, by where the state came from, why it was needed and the verdict.",
    ("rung", "cause", "result"),
)
HEAL_SECONDS = Spec(
    "checkpointheal_heal_seconds",
    "histogram",
    "From the end of the old epoch to the verdict, of members that train again.",
    ("rung",),
    SLOW,
)
PHASE_SECONDS = Spec(
    "checkpointheal_heal_phase_seconds",
    "histogram",
    "One phase of a heal: restart, choose, hold (from asking the donor to its offer), transfer, verify, others, apply.",
    ("phase",),
    SLOW,
)
BYTES = Spec(
    "checkpointheal_transferred_bytes_total",
    "counter",
    "Bytes that crossed between pods in the last attempt of a heal.",
)
ASSIGNMENTS = Spec("checkpointheal_assignments_total", "counter", "Donors assigned, by why.", ("reason",))
REFUSALS = Spec(
    "checkpointheal_donor_refusals_total",
    "counter",
    "Candidates that were not assigned when somebody else was, by why.",
    ("reason",),
)
EPOCHS_BEGUN = Spec(
    "checkpointheal_epochs_begun_total", "counter", "Epochs begun, by lowest rung and why.", ("rung", "reason")
)
EPOCHS_ENDED = Spec("checkpointheal_epochs_ended_total", "counter", "Epochs ended, by why.", ("reason",))

LEADER = Spec("checkpointheal_leader", "gauge", "1 while this process leads.")
LEADERSHIPS = Spec("checkpointheal_leaderships_total", "counter", "How often this process began to lead.")
JOBS = Spec("checkpointheal_jobs", "gauge", "CheckpointHeals that the leader looks after.")
OPEN_HEALS = Spec("checkpointheal_open_heals", "gauge", "Heals that wait for their verdict.")
STANDING_STILL = Spec(
    "checkpointheal_jobs_standing_still",
    "gauge",
    "Jobs with agents at work that have not trained for longer than a load takes, and to which no state crosses.",
)
AGENTS = Spec("checkpointheal_agents_heard", "gauge", "Agents whose latest report the leader holds.")
VIEW_AGE = Spec(
    "checkpointheal_view_age_seconds", "gauge", "Since the job that has waited longest was looked at; 0 for a follower."
)
WATCH_AGE = Spec(
    "checkpointheal_watch_age_seconds",
    "gauge",
    "Since the API server last said anything about a kind: how far behind the mirror may be.",
    ("kind",),
)
WATCHED = Spec("checkpointheal_watched_objects", "gauge", "Objects in the mirror of a kind.", ("kind",))
LOOKS = Spec(
    "checkpointheal_looks_total", "counter", "Looks at a job, by how they ended: ok, or the error's name.", ("result",)
)
LOOK_SECONDS = Spec("checkpointheal_look_seconds", "histogram", "One look: read, decide, write, tell.")
WAKEUPS = Spec("checkpointheal_wakeups_total", "counter", "Times that something happened to a job.")
API_WRITES = Spec(
    "checkpointheal_api_writes_total",
    "counter",
    "Writes to the API server, by verb, kind and outcome: ok, or the error's name.",
    ("verb", "kind", "outcome"),
)
TOKEN_REVIEWS = Spec(
    "checkpointheal_token_reviews_total",
    "counter",
    "Tokens that the API server was asked about: a pod's, nobody's, or unknown where it did not answer.",
    ("outcome",),
)
CERTIFICATES = Spec(
    "checkpointheal_certificates_total",
    "counter",
    "Certificates that agents asked for: issued, or why not.",
    ("outcome",),
)
AGENT_REQUESTS = Spec(
    "checkpointheal_agent_requests_total", "counter", "Requests of agents, by path and status.", ("path", "status")
)
TROUBLED = Spec(
    "checkpointheal_pods_in_trouble",
    "gauge",
    "Opted-in pods without an agent at work, a place or a policy, or whose agent tells of a flaw; one may count twice.",
    ("reason",),
)

REVIEWS = Spec(
    "checkpointheal_webhook_reviews_total",
    "counter",
    "Admission reviews: injected, mended, unchanged, refused, ignored, foreign, failed, malformed, oversize, late.",
    ("outcome",),
)
REVIEW_SECONDS = Spec("checkpointheal_webhook_review_seconds", "histogram", "From a review's arrival to its answer.")

OPERATOR = (
    *(HEALS_OPENED, HEALS, HEAL_SECONDS, PHASE_SECONDS, BYTES, ASSIGNMENTS, REFUSALS, EPOCHS_BEGUN, EPOCHS_ENDED),
    *(LEADER, LEADERSHIPS, JOBS, OPEN_HEALS, STANDING_STILL, AGENTS, VIEW_AGE, WATCH_AGE, WATCHED),
    *(LOOKS, LOOK_SECONDS, WAKEUPS),
    *(API_WRITES, TOKEN_REVIEWS, CERTIFICATES, AGENT_REQUESTS, TROUBLED),
)
WEBHOOK = (REVIEWS, REVIEW_SECONDS)
