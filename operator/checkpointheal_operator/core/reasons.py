"""Which words the core may answer with, and the one sentence behind each.

The only place where a reason, a rung or a cause is spelled. Must not know any other module of ours.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self


class Rung(StrEnum):
    """Where a member's state comes from, best first."""

    OWN_MEMORY = "OwnMemory"
    PEER = "Peer"
    CHECKPOINT = "Checkpoint"
    FRESH = "Fresh"


class Cause(StrEnum):
    """Why a member needs a heal."""

    CRASHED = "Crashed"
    REPLACED = "Replaced"
    ROLLED_OUT = "RolledOut"
    STOPPED = "Stopped"
    DAMAGED = "Damaged"
    ADDED = "Added"
    RETURNED = "Returned"


class Reason(StrEnum):
    """A fact in one word. `tell` says it in a sentence that names who it is about."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> Self:
        """Keep the sentence beside the word, so that neither can be added without the other."""
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.sentence = sentence
        return reason

    def tell(self, **names: object) -> str:
        """Fill the sentence's names in."""
        return self.sentence.format(**names)

    # Why a candidate is not the donor.
    SAME_MEMBER = "SameMember", "{member} is the recipient itself"
    SAME_REPLICA = "SameReplica", "{member} belongs to the recipient's own replica and holds another part of the state"
    COORDINATE_MISMATCH = "CoordinateMismatch", "{member} holds coordinate {theirs}, the recipient needs {needed}"
    POD_GONE = "PodGone", "no pod holds the place of {member} now"
    SUPERSEDED = "Superseded", "another pod holds the place of {member}"
    DRAINING = "Draining", "the pod of {member} is being deleted: its memory goes with it"
    NOT_HEARD_FROM = "NotHeardFrom", "the agent of {member} has not reported to this operator yet"
    HEARTBEAT_STALE = "HeartbeatStale", "the agent of {member} was last heard {age:.1f} s ago"
    NOT_UP_TO_DATE = "NotUpToDate", "{member} holds {steps}, not the restore step {step}"
    NOT_DIGESTED = "NotDigested", "{member} holds step {step}, but its agent has not read it through yet"
    SCHEMA_DIFFERS = "SchemaDiffers", "{member} holds step {step} with another schema than most: it runs another model"
    DIGEST_DISAGREES = (
        "DigestDisagrees",
        "{member} holds other bytes for step {step} than its peers: its memory is wrong",
    )
    NO_MAJORITY = (
        "NoMajority",
        "{member} and its peers hold different bytes for step {step} or the one beside it: nothing tells who is right",
    )
    ALREADY_DONATING = "AlreadyDonating", "{member} already serves {count} recipients, its limit is {limit}"
    NOT_PROBED = "NotProbed", "{member} was asked whether it is still there, and has not answered"
    FAILED_THIS_HEAL = "FailedThisHeal", "a transfer from {member} failed in this heal {count} times: it rests"

    # Why an epoch is over, or soon will be.
    POD_REPLACED = "PodReplaced", "the pod of {member} was replaced by {pod}"
    POD_LOST = "PodLost", "the pod of {member} is gone and its agent is silent"
    TRAINER_GONE = "TrainerGone", "the trainer of {member} ended: {how}"
    TRAINER_WAITS = "TrainerWaits", "the trainer of {member} asks for a state again"
    TRAINER_STOPPED = (
        "TrainerStopped",
        "the trainer of {member} stands still for over {grace:g} s: it is to be restarted",
    )
    STANDS_STILL = "StandsStill", "the trainer of {member} stands still"
    TRAINER_UNKNOWN = "TrainerUnknown", "the agent of {member} was started anew, and has not heard of its trainer yet"
    END_OVERDUE = (
        "EndOverdue",
        "the trainer of {member} did not end within {deadline:g} s after its epoch: it is to be restarted",
    )
    NOT_IN_EPOCH = "NotInEpoch", "the trainer of {member} trains in epoch {theirs}, not in {epoch}"
    NOT_A_MEMBER = "NotAMember", "this life of {member} is not in epoch {epoch}: it waits for the next one"
    JOIN_OVERDUE = "JoinOverdue", "the trainer of {member} did not take its answer within {budget:g} s"
    MEMBERSHIP_CHANGED = "MembershipChanged", "{member} belongs to the job now and waits"
    MEMBER_RETURNS = (
        "MemberReturns",
        "{members} was left out of epoch {epoch} and waits: the others leave it at their next commit, and take it in",
    )
    NEW_RUN = "NewRun", "another run has begun: {why}; it begins as a first start does, with nothing remembered"
    PROBATION_FAILED = (
        "ProbationFailed",
        "{member} was healed, and does not train as its peers do: at step {step} {what}",
    )
    RECORDS_BEHIND = "RecordsBehind", "agents know epoch {seen}, the records only {epoch}: that epoch is closed"

    # Why the next epoch does not begin yet.
    MEMBER_MISSING = "MemberMissing", "no pod holds the place of {member}: nothing begins without it"
    HELD_BY_ORDERED_READY = (
        "HeldByOrderedReady",
        (
            "no pod holds the place of {member}: nothing begins without it; if its StatefulSet is OrderedReady, it "
            "makes none before {pod} is Ready: then let no probe wait for training, or set podManagementPolicy: "
            "Parallel"
        ),
    )
    HELD_BY_LOST_NODE = (
        "HeldByLostNode",
        (
            "pod {pod} of {member} should have been gone {age:.0f} s ago, and its agent is silent: its node {node} "
            "seems to be lost, and as a rule no other pod is made before the object of this one is gone"
        ),
    )
    STILL_TRAINING = "StillTraining", "the trainer of {member} has not ended yet"
    STILL_LOADING = "StillLoading", "the trainer of {member} is loading the answer of an epoch that is over"
    NOT_WAITING = "NotWaiting", "the trainer of {member} is {trainer}, not yet in restore()"
    DIGEST_PENDING = "DigestPending", "{member} is still reading step {step} through"
    DONORS_BUSY = "DonorsBusy", "{member} waits for a donor: every one that could give serves others or rests"
    NOT_CERTIFIED = "NotCertified", "{member} waits for its agent's certificate: without one nothing is sent to it"
    OLD_REQUEST = "OldRequest", "request {request} of {member} was answered already: its next one will be heard"
    HELD = (
        "Held",
        (
            "{why}; spec.fallback is Hold, so the job does not go back to your checkpoint by itself: what was trained "
            "since it{reached} would be lost; set spec.fallback to Checkpoint to let it go on from there, or {mend}"
        ),
    )
    TRANSFERRING = "Transferring", "{member} receives step {step} from {donor}, attempt {attempt}"

    # What an epoch begins with.
    EVERYONE_WAITS = "EveryoneWaits", "all members wait and hold step {step}"
    GOES_ON_WITHOUT = (
        "GoesOnWithout",
        "{count} of {replicas} replicas go on at step {step} without {members}, which may come in later",
    )
    FIRST_START = "FirstStart", "no member holds a state, and none ever did"
    NO_SURVIVING_ARENA = "NoSurvivingArena", "no arena survived: every pod that held a state is gone"
    NOTHING_KEPT = "NothingKept", "no agent holds a state, though the pods live: {what}"
    NO_ELIGIBLE_DONOR = "NoEligibleDonor", "nobody can give {what}"
    REPLICAS_DIFFER = (
        "ReplicasDiffer",
        (
            "the replicas of coordinate {coordinates} differ by themselves: no two members ever held the same bytes of "
            "a step, so none can be given another's state; what is not equal on all ranks (an optimizer that keeps "
            "state for its own parameters only, a buffer filled from its own batch) belongs under private= of "
            "attach(), or has to be made equal"
        ),
    )
    MEMBERS_DISAGREE = (
        "MembersDisagree",
        (
            "members of coordinate {coordinates} were alike, and hold different bytes at step {step}: memory is "
            "damaged, or a part is each rank's own from some step on, which belongs under private= of attach(), or has "
            "to be made equal; where nothing tells who is right, a loss takes the job to your checkpoint"
        ),
    )
    NO_COMMON_STEP = "NoCommonStep", "there is no step that every coordinate holds: {what}"
    PRIVATE_STATE_LOST = "PrivateStateLost", "the private part of {what} is nowhere"
    PRIVATE_STATE_BEHIND = (
        "PrivateStateBehind",
        "step {step} goes on with an earlier private part of {what}: restored, and not as if nothing had been",
    )
    ATTEMPTS_EXHAUSTED = (
        "AttemptsExhausted",
        "{member} was assigned {tries} times, {failed} failed, and it never received the state",
    )
    CRASH_LOOP_AT_STEP = "CrashLoopAtStep", "{member} crashed {count} times at step {step}: its memory may be the cause"
    PROBATION_EXHAUSTED = (
        "ProbationExhausted",
        "{member} failed its probation with the very bytes that its peers hold: memory has no others to give",
    )
    NO_SOUND_STEP = (
        "NoSoundStep",
        "no memory holds step {step} or one before it any more, and later ones came of the wrong memory of a member",
    )

    # Why a heal has this assignment, or ends.
    STATE_MISSING = "StateMissing", "{member} holds no usable state of step {step}"
    CHANNEL_VERSION_DIFFERS = (
        "ChannelVersionDiffers",
        (
            "the agent of {donor} runs torch {theirs}, that of {member} torch {own}: gloo promises nothing between two "
            "versions, so the state crosses over TLS"
        ),
    )
    DONOR_LOST = "DonorLost", "the donor of attempt {attempt} is gone"
    TRANSFER_FAILED = "TransferFailed", "attempt {attempt} failed: {what}"
    TRANSFER_OVERDUE = "TransferOverdue", "attempt {attempt} did not end within {deadline:.1f} s"
    STEP_CHANGED = "StepChanged", "attempt {attempt} was for other bytes than those of step {step} that are wanted now"
    HEALED = "Healed", "{member} trains in epoch {epoch}"
    FELL_BACK = "FellBack", "{member} trains in epoch {epoch}, but not from anybody's memory"
    RECIPIENT_GONE = "RecipientGone", "{member} asks no more: the pod that did is gone, is done, or has no place"
    ASKED_AGAIN = "AskedAgain", "{member} has asked anew; another heal answers"

    # Why there is no drill now, and how one ended.
    NOT_TRAINING = "NotTraining", "a drill needs everyone at work: {what}"
    HEAL_UNDER_WAY = "HealUnderWay", "a heal comes first: {member} is being healed"
    NO_PAIR = "NoPair", "no member can be given a state by another replica now: {what}"
    AGENT_TOO_OLD = "AgentTooOld", "the agent of {member} is of an older build, which knows no drills"
    HOLDS_NOTHING = "HoldsNothing", "{member} holds no state that its agent has read through"
    DRILLING = "Drilling", "{member} is given step {step} by {donor}, and keeps nothing of it"
    DRILL_PASSED = "DrillPassed", "{member} was given step {step} by {donor} and verified it: a heal would work"
    GAVE_WAY = "GaveWay", "the drill was ended for what matters more: {what}"
    DRILL_OVERDUE = "DrillOverdue", "the drill did not end within {deadline:.1f} s"

    # What is worth knowing though nothing is decided for it.
    FOLLOWED_PEER = "FollowedPeer", "{member} came back only because its epoch was over"
    PROBATION_DIFFERS = (
        "ProbationDiffers",
        "{member} was healed, and its {name} is {own}, its peers' {theirs}: other data can do that, wrong memory too",
    )
    LEFT_OUT = "LeftOut", "epoch {epoch} is without {member}, from step {since} on: it comes in once it waits"
    NEEDS_EVERYONE = (
        "NeedsEveryone",
        (
            "minReplicas is set, but {member} cannot train without the others: it is on level 1, or its torch, its "
            "library or its agent is too old for that"
        ),
    )
    AGENT_SILENT = "AgentSilent", "the agent of {member} was last heard {age:.1f} s ago; its pod is there"
    ALL_DONE = "AllDone", "every member is done"
    ALL_TRAIN = "AllTrain", "epoch {epoch} is under way"
    BEGAN_BEFORE = (
        "BeganBefore",
        (
            "epoch {epoch} is under way, and began before this CheckpointHeal was there: losses are healed, and drills "
            "wait for the next epoch"
        ),
    )
    ALL_WELL = "AllWell", "nothing is amiss{where}"
    JOINING = "Joining", "{member} has its answer and is loading it"
    ELIGIBLE = "Eligible", "{member} may give step {step}; rank {rank}"
    HOLDS_STATE = "HoldsState", "{member} holds step {step} itself and needs no donor"
    NO_RESTORE_STEP = "NoRestoreStep", "there is no restore step: {what}"
    NOT_YET = "NotYet", "{what} has not happened yet"
    NOT_NEEDED = "NotNeeded", "the state came from {rung}: nothing crosses"
    IN_ORDER = "InOrder", "{what}"

    # Why a member is not protected though its agent is at work, and what helps.
    ARENA_DOES_NOT_FIT = "ArenaDoesNotFit", "{member} is not protected: its state does not fit into its arena: {what}"
    ARENA_UNUSABLE = "ArenaUnusable", "{member} is not protected: its arena cannot be used: {what}"
    SLOT_DAMAGED = "SlotDamaged", "a generation of {member} is damaged and lost: {what}"
    BYTES_DIFFER = (
        "BytesDiffer",
        "the memory of {member} changed after it was sealed: suspect the memory of its node: {what}",
    )
    GENERATION_SKIPPED = "GenerationSkipped", "{member} did not keep its latest step: {what}"
    PRIVATE_PART_NOT_KEPT = (
        "PrivatePartNotKept",
        "{member} is not protected: its pods must reach each other's agents (NetworkPolicy, mesh): {what}",
    )
    PRIVATE_STATE_TOO_LARGE = "PrivateStateTooLarge", "{member} is not protected: {what}"
    NO_CERTIFICATE = "NoCertificate", "{member} is not protected: {what}"
    LAYOUT_DIFFERS = "LayoutDiffers", "{member} is not healed: {what}"
    TOO_MANY_MEMBERS = (
        "TooManyMembers",
        "the job is not healed: {replicas} replicas of {ranks} ranks are more than {most} members",
    )
    BAD_SELECTOR = "BadSelector", "the job is not healed: spec.selector selects no pod: {what}"
    UNPROTECTED = "Unprotected", "{member} is not protected: {what}"

    # Why a pod that opted in has no agent at work, or no policy, and what helps.
    NOT_INJECTED = "NotInjected", "pod {pod} opted in, but no agent is in it: {why}"
    NAMESPACE_OPTED_OUT = (
        "NamespaceOptedOut",
        (
            "pod {pod} opted in, but the webhook passes its namespace over, so no agent is in it, nor would be in the "
            "next one: take the label checkpointheal.dev/inject=false from the namespace, or have the chart's "
            "webhook.namespaceSelector take it in; or leave the opt-in label out"
        ),
    )
    AGENT_IMAGE_UNAVAILABLE = (
        "AgentImageUnavailable",
        (
            "pod {pod} cannot have the agent's image {image} ({why}), and its containers start behind the agent: mend "
            "the registry or the pod's own pull secret; or give this pod another image, as `kubectl set image "
            "pod/{pod} {agent}=IMAGE`; or make it anew without the opt-in label"
        ),
    )
    AGENT_CANNOT_START = (
        "AgentCannotStart",
        (
            "the agent of pod {pod} does not start ({why}): its log says more; mend that, or make the pod anew without "
            "the opt-in label"
        ),
    )
    AGENT_OUT_OF_MEMORY = (
        "AgentOutOfMemory",
        "the agent of pod {pod} was killed for want of memory: ask for more with the annotation {key}",
    )
    NO_NODE = "NoNode", "pod {pod} has no node yet ({why}): no agent and no trainer can run in it"
    NOT_STARTED = "NotStarted", "node {node} has not started the containers of pod {pod} yet"
    NO_POLICY = (
        "NoPolicy",
        (
            "no CheckpointHeal of its namespace selects pod {pod}, so restore() waits: make one whose selector takes "
            "the pod's labels"
        ),
    )
    OTHER_JOB = (
        "OtherJob",
        (
            "pod {pod} is of job {theirs}, and the CheckpointHeal that selects it looks after job {job} alone: give "
            "each job a CheckpointHeal whose selector takes only its own pods"
        ),
    )
    PLACE_UNKNOWN = (
        "PlaceUnknown",
        (
            "pod {pod} has an agent, but nobody can tell its place in a job, so nothing heals it: {why}; mend that in "
            "the pod template, and let its pods be made anew"
        ),
    )
    PLACE_TAKEN = "PlaceTaken", "pods {other} and {holder} both claim the place of {member}: {holder} has it"
    NO_ROOM = (
        "NoRoom",
        (
            "pod {pod} claims the place of {member}, and spec.layout.replicas is {replicas}: raise it, or delete the "
            "pod, which nobody heals"
        ),
    )
    CONFLICTING = (
        "Conflicting",
        "{older} is older and selects pod {pod} too: this CheckpointHeal does nothing until one selector lets go",
    )

    # Whom the gateway does not believe.
    TOKEN_REFUSED = "TokenRefused", "a token was refused: {what}"
    NOT_ITS_OWN = "NotItsOwn", "the token of pod {pod} of job {own} came with a report for pod {claimed} of job {job}"
    NO_SUCH_SEAT = "NoSuchSeat", "the token of pod {pod} came for local rank {local_rank}, and the pod has {count}"

    # Which place a pod holds, and why nobody can tell.
    NO_PLACE = (
        "NoPlace",
        "nothing on the pod tells its place in the job: annotate {replica}, another number for each pod",
    )
    NO_JOB = "NoJob", "nothing on the pod tells which job it belongs to: annotate {job}"
    BAD_ANNOTATION = "BadAnnotation", "{key} is {text}, not {wanted}"
    LOCAL_RANKS_DO_NOT_DIVIDE = (
        "LocalRanksDoNotDivide",
        (
            "{local_ranks} and {ranks} do not divide each other: a pod holds a whole block of one replica's ranks, or "
            "whole replicas"
        ),
    )
    GROUP_SIZE_UNKNOWN = "GroupSizeUnknown", "a {source} does not tell how many pods a group has: annotate {size}"
    NOT_IN_TEMPLATE = (
        "NotInTemplate",
        "a template of {kind} cannot tell its pods their places in this layout: leave it to the webhook",
    )
    KIND_UNKNOWN = (
        "KindUnknown",
        "which places the pods of a {kind} will have is not known here: leave it to the webhook",
    )

    # What is said of an injection.
    NOT_OPTED_IN = "NotOptedIn", "the pod does not bear the label {label}"
    MIRROR_POD = "MirrorPod", "the pod mirrors a static one: its kubelet would not see a change"
    UNREADABLE_POD = "UnreadablePod", "the pod cannot be read: {what}"
    NOT_LINUX = (
        "NotLinux",
        "the pod is for {system}, an agent is for linux: take the label checkpointheal.dev/inject off",
    )
    POD_LEVEL_RESOURCES = (
        "PodLevelResources",
        "the pod limits its containers together, where an arena would take the trainer's memory: limit each by itself",
    )
    TRAINER_NOT_FOUND = "TrainerNotFound", "{key} names {name}, the pod's containers are {containers}"
    TRAINER_AMBIGUOUS = "TrainerAmbiguous", "none of {containers} asks for an accelerator: annotate {key}"
    TOO_LATE = "TooLate", "an agent cannot be added to a pod that lacks {what}: the next pod gets one"
    NAME_TAKEN = "NameTaken", "the pod has {what} of its own, and injection needs that name or place: give it another"
    INJECTED = "Injected", "the agent of {member} of {job} stands beside {trainer}"
    ALREADY_INJECTED = "AlreadyInjected", "the agent of {member} of {job} stands beside {trainer} already"
    INJECTION_MENDED = (
        "InjectionMended",
        "{what} of the injected pod was missing, or not as it should be: it is put right",
    )
    PORT_NOT_FIXED = "PortNotFixed", "the agent listens on any free port, because {why}"
    GATEWAY_NOT_FOUND = (
        "GatewayNotFound",
        (
            "the pod finds names as its node does, which does not know {gateway}: give it the dnsPolicy "
            "ClusterFirstWithHostNet where it is on its node's network, else ClusterFirst"
        ),
    )
    PROCESSES_SHARED = (
        "ProcessesShared",
        (
            "the pod's containers see each other's processes, and {containers} may run as root or as the agent's user, "
            "who reads the agent's token: leave out shareProcessNamespace and hostPID, or give each a runAsUser"
        ),
    )
    MESH_IN_THE_WAY = (
        "MeshInTheWay",
        "{mesh} carries the agent's port {port}: exclude it from the mesh, by the annotation {key} of the pod template",
    )
    UNKNOWN_ANNOTATION = "UnknownAnnotation", "{key} means nothing: did you mean {nearest}?"
    MORE_UNKNOWN_ANNOTATIONS = (
        "MoreUnknownAnnotations",
        "{count} more annotations mean nothing: docs/injection.md lists those under {prefix} that do",
    )


MOST_NAMED = 8
_QUOTED = 100


def named(which: Sequence[object]) -> str:
    """Members or coordinates, as a sentence names them: the first eight."""
    return ", ".join(map(str, which[:MOST_NAMED]))


def quoted(text: str) -> str:
    """What somebody wrote, as a sentence shows it: the rest of the sentence has to have room beside it."""
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "…")
