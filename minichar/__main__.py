"""Entry point for ``python -m minichar``."""

from minichar.cli import main

main(prog_name="minichar")
