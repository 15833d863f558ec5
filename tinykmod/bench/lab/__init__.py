"""Boots on boards and machines of a lab, through labgrid: its environment file, its coordinator, its places.

Everything but `engine` and `many` imports labgrid, of the extra tinykmod[lab]. docs/lab.md tells how it is set up.
"""
