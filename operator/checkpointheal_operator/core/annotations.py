"""Which annotations does a remedy name, or a person write on a CheckpointHeal?

Words only, for those who tell and for those who read. Must not know any other module of ours.
"""

PREFIX = "checkpointheal.dev/"
DRILL = PREFIX + "drill"
"""On a CheckpointHeal: another value than before asks for a drill."""
LOCAL_RANKS = PREFIX + "local-ranks"
"""Trainers of one pod, each with a place of its own."""
ARENA_SIZE, AGENT_MEMORY = PREFIX + "arena-size", PREFIX + "agent-memory"
