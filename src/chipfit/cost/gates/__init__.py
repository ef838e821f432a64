"""Multipliers as netlists of gates: energy and delay of every weight value."""
