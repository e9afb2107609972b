"""Writes one page about one or more runs: sassn report --workdir=DIR --output=report.html.

In a checkout, `python -m experiments.report` is the same command. --workdir can be given several
times; the page then says what differs between the runs. The page is one HTML file without links to
other files. It needs the extra: pip install 'sassn_jax[report]'.
"""

from absl import flags

from sassn_jax.commands import command


def run() -> None:
    """Runs the command."""
    workdirs = flags.DEFINE_multi_string(
        "workdir", None, "Folder of a run; can be given several times.", required=True
    )
    output = command.define_path("output", "report.html", "File to write, .html.")
    checkpoint = command.define_checkpoint()
    data_dir = command.define_path(
        "data_dir", None, "Folder of the dataset, if it is not where the run found it."
    )
    command.run(
        lambda: _report(workdirs.value, command.required(output), checkpoint.value, data_dir.value)
    )


def _report(workdirs: list[str], output: str, checkpoint: str, data_dir: str | None) -> None:
    from sassn_jax.reporting.page import write_report  # after the flags: JAX takes seconds

    overrides = {"data_dir": data_dir} if data_dir else {}
    with command.progress("scoring") as show:
        write_report(
            workdirs, output, checkpoint, lambda _, done, total: show(done, total), overrides
        )
    print(f"{output}: {len(workdirs)} {'run' if len(workdirs) == 1 else 'runs'}")
