"""Which annotations of a pod template does a remedy name?

Words only, for those who tell and for those who read. Must not know any other module of ours.
"""

PREFIX = "checkpointheal.dev/"
ARENA_SIZE, AGENT_MEMORY = PREFIX + "arena-size", PREFIX + "agent-memory"
