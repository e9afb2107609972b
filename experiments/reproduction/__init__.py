"""The paper's tables, and its two claims, as runs that any number of processes share.

`tables` says which cells a table has, `cells` what a cell is, `claims` who runs it, `running` runs
it, `results` reads what came of it, and `report` writes that down beside the paper's numbers.
"""
