"""``python -m figures``, in ``docs``: draw all figures."""

from . import draw_all

draw_all()
