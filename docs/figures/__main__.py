"""``python -m figures``, in ``docs``: draw them all."""

from . import draw_all

draw_all()
