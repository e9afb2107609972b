"""The paper's tables and its two claims, as runs that any number of processes share.

`tables` lists the cells of each table, `cells` makes a cell's config, `claims` assigns cells to
processes, `scheduling` and `running` run them, `results` reads their results, and `report` writes
them beside the paper's numbers.
"""
