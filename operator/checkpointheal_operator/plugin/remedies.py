"""What may a person do about a fact that the operator tells?

One sentence for each word that can stand in a condition and is worth acting on. Must not know where it was read.
"""

from checkpointheal_operator.core.reasons import Cause, Reason

GENERIC = "`kubectl checkpointheal explain POD` tells the whole story of a pod"
BY_ITSELF = "nothing: a heal is under way; `kubectl checkpointheal watch` shows it"
LOG = "kubectl logs POD, with --previous where its container was started again"
WHY_IT_ENDED = f"; why it ended stands in its log: {LOG}"
NOT_YET = (
    "wait: a heal is opened once its trainer asks for a state; what keeps it from that for long is told as degraded"
)
"""Where it is told that a heal is under way, and there is none."""

REMEDIES: dict[str, str] = {
    Reason.PLACE_TAKEN: "let each pod have a place of its own, by the annotation checkpointheal.dev/replica if need be",
    Reason.OTHER_JOB: "give each job a CheckpointHeal whose selector takes only its own pods: two that take one pod "
    "conflict",
    Reason.NO_ROOM: "raise spec.layout.replicas, or delete the pods that are too many",
    Reason.MEMBER_MISSING: "look why no pod is there: kubectl describe of its owner (StatefulSet, JobSet, ...); "
    "if the job was made smaller, set spec.layout.replicas",
    Reason.HELD_BY_ORDERED_READY: "look why no pod is there: kubectl describe of the StatefulSet; if it is "
    "OrderedReady, let no probe wait for training, or make it anew with podManagementPolicy: Parallel (delete it with "
    "--cascade=orphan first)",
    Reason.HELD_BY_LOST_NODE: "look at the node (kubectl get nodes): where it runs, nothing; where it is switched off "
    "or gone for good, and only there: kubectl delete node NODE, or kubectl taint node NODE "
    "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, or kubectl delete pod POD --force",
    Reason.POD_LOST: "nothing, if its owner makes a new pod; else look at the owner and at the node",
    Reason.POD_REPLACED: BY_ITSELF,
    Reason.TRAINER_GONE: BY_ITSELF + WHY_IT_ENDED,
    Reason.TRAINER_WAITS: BY_ITSELF,
    Reason.TRAINER_STOPPED: "nothing: it is restarted; look for a stop signal or a stuck mount on its node",
    Reason.END_OVERDUE: "nothing, if `checkpointheal run` starts it: it is restarted; else delete the pod, and "
    "look what held it up on its way out",
    Reason.NOT_IN_EPOCH: BY_ITSELF,
    Reason.JOIN_OVERDUE: "look at the trainer's log: it asked for a state and did not take it",
    Reason.MEMBERSHIP_CHANGED: BY_ITSELF,
    Reason.MEMBER_RETURNS: BY_ITSELF,
    Reason.GOES_ON_WITHOUT: "look why no pod is there, or why its trainer does not come to heal.epochs()",
    Reason.LEFT_OUT: "look why no pod is there, or why its trainer does not come to heal.epochs(); the others train",
    Reason.NEEDS_EVERYONE: "train by heal.epochs(), with a torch, a library and an agent that are new enough; or leave "
    "spec.layout.minReplicas out",
    Reason.NEW_RUN: "nothing: it begins; two names that are one run need one checkpointheal.dev/job",
    Reason.PROBATION_FAILED: "nothing: the job goes back to the last step that was shared; if it comes again, suspect "
    "that node's memory, a state that attach() was not given, or one of each rank's own that was declared as shared: "
    "that belongs under private=",
    Reason.PROBATION_DIFFERS: "nothing, where its data explains it; else compare that member's log with its peers'",
    Reason.NOT_HEARD_FROM: "look at the agent: kubectl logs POD -c checkpointheal-agent; "
    "it must reach the operator's Service (NetworkPolicy, mesh)",
    Reason.NO_NODE: "make room for it, or change what it asks for: kubectl describe pod POD; a queue that holds it "
    "back lets it go by itself",
    Reason.NOT_STARTED: "wait: its node pulls images and mounts volumes; if it stays so, kubectl describe pod POD "
    "names what is lacking",
    Reason.AGENT_SILENT: "look at the agent: kubectl logs POD -c checkpointheal-agent, and at the node of the pod",
    Reason.DRAINING: "nothing, if you drain the node; a new pod is healed from its peers",
    Reason.ARENA_DOES_NOT_FIT: "write the annotation that the message names into the pod template: "
    "its size is decided when a pod is made",
    Reason.ARENA_UNUSABLE: "look at the agent: kubectl logs POD -c checkpointheal-agent; a new pod gets a new arena",
    Reason.SLOT_DAMAGED: "nothing, if it was once: the next commit overwrites it; else suspect that node's memory",
    Reason.BYTES_DIFFER: "suspect that node's memory: cordon it and delete the pod",
    Reason.GENERATION_SKIPPED: "nothing, if it was once; else look who reads the slots for so long",
    Reason.PRIVATE_PART_NOT_KEPT: "let the job's pods reach each other's agents: look for a NetworkPolicy or a mesh",
    Reason.PRIVATE_STATE_TOO_LARGE: "name what replicas share as a part of attach(), or pass private_limit=, to 16 MiB",
    Reason.NO_CERTIFICATE: "look at the operator's log: it says why it gives that pod no certificate",
    Reason.LAYOUT_DIFFERS: "mend what the message names: selector, labels, annotations and spec.layout have to mean "
    "the same pods and places",
    Reason.BAD_SELECTOR: "mend spec.selector: it has to say what labels of the job's pods say",
    Reason.TOO_MANY_MEMBERS: "mend spec.layout, or the pods' annotations checkpointheal.dev/replica, rank and ranks",
    Reason.UNPROTECTED: "add replicas, or look at what the message names: a loss of this member now costs a checkpoint",
    Reason.STILL_TRAINING: "wait: its trainer is told that the epoch is over",
    Reason.STILL_LOADING: "wait: it loads a state",
    Reason.NOT_WAITING: f"look at kubectl describe pod POD and at the trainer's log ({LOG}): its image, its "
    "memory, its script; the others wait for it",
    Reason.DIGEST_PENDING: "wait: its agent reads the state through",
    Reason.HELD: "set spec.fallback to Checkpoint to let the job go on from your checkpoint, or do the other thing "
    "that the message names",
    Reason.DONORS_BUSY: "wait, or raise spec.donors.limit",
    Reason.NOT_CERTIFIED: "wait; if it stays, the log of its agent and the operator's say why it gets no certificate",
    Reason.TRANSFERRING: BY_ITSELF,
    Reason.NO_SURVIVING_ARENA: "let the launcher restart pods one by one: a whole new gang begins at your checkpoint",
    Reason.NOTHING_KEPT: "mend what the message names: until then a loss costs a checkpoint",
    Reason.NO_ELIGIBLE_DONOR: "look at each donor's refusal: kubectl checkpointheal explain POD",
    Reason.REPLICAS_DIFFER: "find the part that is not equal on all ranks (an optimizer that keeps state for its own "
    "parameters only, a buffer filled from its own batch), and pass it under private= of attach(), a buffer in a part "
    "of its own; or make it equal, where it is over 16 MiB; where "
    "one rank's digest changes from run to run, suspect its node's memory",
    Reason.MEMBERS_DISAGREE: "compare the nodes' memory errors; of three replicas one that is damaged is outvoted when "
    "its trainer starts again. Where it comes on every node, find the part that is each rank's own from some step on "
    "(filled later, skipped at first), and pass it under private= of attach()",
    Reason.NO_COMMON_STEP: "the job goes on from your checkpoint; look which replicas lost the step",
    Reason.PRIVATE_STATE_LOST: "it goes on from an earlier step or your checkpoint; raise spec.privateState.buddies, "
    "or, where spec.privateState.behind is Refuse, let an earlier part stand in for it: Allow",
    Reason.PRIVATE_STATE_BEHIND: "nothing: that member draws some of its batches and random numbers again; where that "
    "must not be, set spec.privateState.behind to Refuse",
    Reason.ATTEMPTS_EXHAUSTED: "look why transfers fail: kubectl checkpointheal explain POD names the latest attempt's "
    "end, the operator's log each one's",
    Reason.CRASH_LOOP_AT_STEP: "look at the trainer's log: the same step fails again, maybe by its data or code",
    Reason.PROBATION_EXHAUSTED: "cordon that member's node and delete its pod; the job goes on from your checkpoint",
    Reason.NO_SOUND_STEP: "the job goes on from your checkpoint; fewer commits would be kept for longer",
    Reason.TRANSFER_FAILED: "look at both agents' logs; a NetworkPolicy must let the job's pods reach each other",
    Reason.TRANSFER_OVERDUE: "look at the network between both pods, or lower spec.donors.floorBytesPerSecond",
    Reason.DIGEST_DISAGREES: "suspect that node's memory: cordon it and delete the pod; where it comes on every node, "
    "a state of each rank's own was declared as shared: that belongs under private= of attach()",
    Reason.NO_MAJORITY: "compare the nodes' memory errors; a third replica would decide",
    Reason.SCHEMA_DIFFERS: "all replicas must run the same model: look for a half-finished roll-out",
    Reason.NOT_TRAINING: "ask again once everyone trains; `kubectl checkpointheal status` tells",
    Reason.HEAL_UNDER_WAY: BY_ITSELF + "; ask again after it",
    Reason.NO_PAIR: "do what the message names, and ask again",
    Reason.GAVE_WAY: "nothing: ask again later",
    Reason.DRILL_OVERDUE: "look at both agents' logs, and at the network between both pods",
    Cause.CRASHED: BY_ITSELF + WHY_IT_ENDED,
    Cause.REPLACED: BY_ITSELF,
    Cause.ROLLED_OUT: BY_ITSELF,
    Cause.STOPPED: BY_ITSELF,
    Cause.DAMAGED: "nothing: it is healed; if it comes again, look whether its loop runs ahead, else at its memory",
    Cause.ADDED: BY_ITSELF,
    Cause.RETURNED: BY_ITSELF,
}

OF_DRILLS = {
    "Overtaken": "nothing: nobody trains during a heal, so it has the time that a drill had not; it has more where "
    "commit() is called less often",
    "NoRoomForDrill": "give the agent more memory: checkpointheal.dev/agent-memory on the pod template",
}
"""What agents say of a drill."""


def remedy(word: str, *, heals: bool = True) -> str:
    """What to do about it. `heals`: whether a heal is open."""
    told = (REMEDIES | OF_DRILLS).get(word, GENERIC)
    return told if heals else told.replace(BY_ITSELF, NOT_YET)
