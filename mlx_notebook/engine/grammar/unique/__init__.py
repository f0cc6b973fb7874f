"""Enforce `uniqueItems` beside a grammar: no item of an array equals an earlier one."""
