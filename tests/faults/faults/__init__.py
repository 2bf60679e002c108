"""A real cluster under faults: starts it, loads it, breaks it, and checks what is left."""
