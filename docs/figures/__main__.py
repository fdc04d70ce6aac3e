"""Draw all figures: run ``python -m figures`` in ``docs``."""

from . import draw_all

draw_all()
