"""The colours of code, with a contrast of at least 4.5 to 1 in both schemes (WCAG AA)."""

from pygments.style import Style
from pygments.styles import get_style_by_name

CONTRAST = 4.6  # a little more than 4.5, because colours are rounded


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as ``40a070``."""
    levels = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def legible(colour: str, background: str) -> str:
    """Return `colour` mixed with as little black or white as gives it enough contrast."""
    end = 0 if luminance(background) > 0.5 else 255
    levels = [int(colour[k : k + 2], 16) for k in (0, 2, 4)]
    mixed = colour
    for share in range(0, 101, 2):
        mixed = "".join(f"{round(x + (end - x) * share / 100):02x}" for x in levels)
        if contrast(mixed, background) >= CONTRAST:
            break
    return mixed


def adapted(name: str, background: str) -> type[Style]:
    """Return a Pygments style with legible colours on a background, and without other backgrounds."""
    rules = {}
    for token, style in get_style_by_name(name):
        words = [word for word in ("bold", "italic", "underline") if style[word]]
        if style["color"]:
            words.append(f"#{legible(style['color'], background)}")
        rules[token] = " ".join(["noinherit", *words])
    return type("Adapted", (Style,), {"styles": rules, "background_color": f"#{background}"})


Light = adapted("friendly", "f6f7f9")
Dark = adapted("github-dark", "0d1117")
