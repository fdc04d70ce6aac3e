"""Convert the plain-text notation of the lessons and docstrings to MathML.

An example of the notation is ``dh_prev = W_hᵀ @ da``. ``_`` starts a subscript, and ``^`` a superscript.
A slash without spaces divides only the adjacent symbols, as in ``h²/2 f''``. A slash surrounded by spaces
divides everything since the last operator by the factors that follow, as in ``η g / (√m + ε)``. A run of
letters, such as ``ih``, is treated as a product unless it is listed in `NAMES` or is a word (at least three
letters, or listed in `SHORT_WORDS`).
"""

import re

FUNCTIONS = ("tanh", "exp", "log", "min", "max", "softmax", "onehot", "mean", "var", "Im")
NAMES = {*FUNCTIONS, "logits", "loss", "mask", "limit", "target", "error", "prev", "rh", "Wn", "Wx"}
PAIRS = ("rh", "Wn", "Wx")
"""Names in `NAMES` that are set like single letters, in italics."""
SHORT_WORDS = ("as", "at", "by", "if", "in", "is", "of", "on", "or", "so", "to")
SHOWN = {"-": "−", "~": "∼", "<": "&lt;", ">": "&gt;"}
RAISED = dict(
    zip(
        "²³ᵀᵃᵏ⁻",
        ("<mn>2</mn>", "<mn>3</mn>", "<mo>⊤</mo>", "<mi>a</mi>", "<mi>k</mi>", "<mo>−</mo>"),
        strict=True,
    )
)
LOWERED = dict(zip("₀₁₂", "012", strict=True))
CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|", "‖": "‖"}
HAT = '<mrow><mover accent="true"><mi>a</mi><mo stretchy="false">^</mo></mover></mrow>'
"""The letter â, which would be upright as a single character."""
SPACE = '<mspace width="0.22em"></mspace>'
GROUP = re.compile(r"<mrow><mo[^>]*>\(</mo>(.*)<mo[^>]*>\)</mo></mrow>")
TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?|[½¼])|(?P<name>[A-Za-z]+|[α-ω]\u0304?|[Σ…â])|(?P<raised>[²³ᵀᵃᵏ⁻]+|'+)"
    r"|(?P<lowered>[₀₁₂])|(?P<operator>\+=|[-=←≈~≤≥<>+·∘×,;:])|(?P<sign>[/_^√∛|‖()\[\]{}])|(?P<space>[\s@]+)"
)


def mathml(line: str, attributes: str = "", flat: bool = False) -> str:
    """Return a formula as a ``math`` element, with slashes instead of fractions if `flat`.

    Raise `ValueError` if the formula cannot be parsed.
    """
    parser = Parser(line)
    parser.flat = flat
    inside = parser.expression()
    if parser.tokens:
        raise ValueError(f"unexpected {parser.text!r} in {line!r}")
    return f"<math{attributes}>{inside}</math>"


class Parser:
    """Recursive-descent parser whose methods consume tokens and return MathML."""

    def __init__(self, line: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.closing = ""  # the delimiter that closes the innermost group
        self.flat = False  # whether to show fractions with a slash, as in exponents
        while line:
            match = TOKEN.match(line)
            if match is None:
                raise ValueError(f"not in the notation: {line!r}")
            self.tokens.append((match.lastgroup or "", match[0]))
            line = line[match.end() :]

    @property
    def kind(self) -> str:
        """The kind of the next token, or an empty string if no tokens are left."""
        return self.tokens[0][0] if self.tokens else ""

    @property
    def text(self) -> str:
        """The text of the next token, or an empty string if no tokens are left."""
        return self.tokens[0][1] if self.tokens else ""

    def take(self) -> str:
        """Consume a token and return its text."""
        return self.tokens.pop(0)[1]

    def expression(self) -> str:
        """Parse terms and operators, up to the end of the group."""
        pieces: list[str] = []
        term = 0  # index in `pieces` where the current term starts
        while self.tokens and self.text != self.closing:
            if self.kind == "operator" or (self.flat and self.text == "/") or self.is_condition():
                form = ' form="infix"' if self.text == "~" else ""  # ~ is infix even at the start of a cell
                form = ' form="prefix"' if self.text == "-" and term == len(pieces) else form
                form = ' lspace="0" rspace="0"' if self.text == "/" else form
                sign = self.take()
                pieces.append(f"<mo{form}>{SHOWN.get(sign, sign)}</mo>")
                term = len(pieces)
            elif self.text == "/":
                self.take()
                term += pieces[term : term + 1] == [SPACE]
                pieces[term:] = [fraction(pieces[term:], self.factors())]
            else:
                pieces += self.factor(first=not pieces or pieces[-1].startswith("<mo"))
                term = len(pieces) if pieces and pieces[-1].startswith("<mtext") else term
        return "".join(pieces)

    def is_condition(self) -> bool:
        """Return whether the next token is the bar in ``p(x | h)``, which is followed by a space."""
        return self.text == "|" and self.tokens[1:2] == [("space", " ")]

    def factors(self) -> list[str]:
        """Parse the factors up to the next operator or the end of the group."""
        pieces: list[str] = []
        while self.tokens and self.kind != "operator" and self.text not in (self.closing, "/"):
            pieces += self.factor(first=not pieces)
        if not pieces:
            raise ValueError("unexpected end of a fraction")
        return pieces

    def factor(self, first: bool) -> list[str]:
        """Parse a factor, such as ``2h`` or ``h²/2``, or skip a space."""
        if self.kind == "space":
            self.take()
            return []
        above = self.symbols()
        if self.text == "/" and not self.flat:
            self.take()
            above = [fraction(above, self.symbols())]
        return above if first else [SPACE, *above]

    def symbols(self) -> list[str]:
        """Parse symbols with no space between them."""
        found = []
        while self.kind in ("name", "number") or (
            self.text in (*CLOSING, "√", "∛") and self.text != self.closing
        ):
            found.append(self.scripts(self.symbol()))
        if not found:
            raise ValueError(f"unexpected {self.text!r}")
        return found

    def symbol(self) -> str:
        """Parse a name, a number, a root or a group."""
        kind, text = self.tokens.pop(0)
        if text == "√":
            return f"<msqrt>{bare([self.symbol()])}</msqrt>"
        if text == "∛":
            return f"<mroot>{bare([self.symbol()])}<mn>3</mn></mroot>"
        if text not in CLOSING:
            return f"<mn>{text}</mn>" if kind == "number" else name(text)
        outer, self.closing = self.closing, CLOSING[text]
        inside = self.expression()
        if self.text != self.closing:
            raise ValueError(f"{text} is not closed")
        self.take()
        self.closing = outer
        return group(text, inside)

    def scripts(self, base: str) -> str:
        """Parse the subscript and superscript of `base`."""
        below = above = primes = ""
        while self.text in ("_", "^") or self.kind in ("raised", "lowered"):
            kind, text = self.tokens.pop(0)
            if kind == "lowered":
                below = f"<mn>{LOWERED[text]}</mn>"
            elif "'" in text:  # most fonts already raise the prime
                primes = f'<mo lspace="0" rspace="0">{"′" * len(text)}</mo>'
            elif kind == "raised":
                above = row([RAISED[sign] for sign in text])
            elif text == "_":
                below = bare([self.symbol()])
            else:
                self.flat, outer = True, self.flat
                above = bare([self.symbol()])
                self.flat = outer
        if base == "<mi>tanh</mi>" and below:  # `tanh_c` is the code's name for tanh(c)
            base, below = row([base, group("(", below)]), ""
        if below and above:
            base = f"<msubsup>{base}{below}{above}</msubsup>"
        elif below or above:
            tag = "munder" if base == "<mo>∑</mo>" else "msub" if below else "msup"
            base = f"<{tag}>{base}{below or above}</{tag}>"
        return row([base, primes]) if primes else base


def name(text: str) -> str:
    """Return the MathML for a name, a word, or a product of letters."""
    if text == "Σ":
        return "<mo>∑</mo>"
    if text in NAMES and text not in PAIRS:
        return f"<mi>{text}</mi>"
    if text[0] == "d" and text[1:] in NAMES:
        return f"<mrow><mi>d</mi>{name(text[1:])}</mrow>"
    if is_word(text) and text not in PAIRS:
        return f"<mtext>{text}</mtext>"
    return row([HAT if letter == "â" else f"<mi>{letter}</mi>" for letter in text])


def is_word(text: str) -> bool:
    """Return whether `text` is a word rather than a product of letters."""
    letters = text.removeprefix("d") if text[1:] in NAMES else text
    return text in SHORT_WORDS or (len(text) >= 3 and text.isalpha() and letters not in NAMES)


def group(opening: str, inside: str) -> str:
    """Return the MathML for a group in brackets. Braces are not shown."""
    if opening == "{":
        return f"<mrow>{inside}</mrow>"
    stretchy = "" if "<mfrac" in inside else ' stretchy="false"'
    brackets = [f"<mo{stretchy}>{sign}</mo>" for sign in (opening, CLOSING[opening])]
    return f"<mrow>{brackets[0]}{inside}{brackets[1]}</mrow>"


def row(pieces: list[str]) -> str:
    """Return pieces as one element."""
    return pieces[0] if len(pieces) == 1 else f"<mrow>{''.join(pieces)}</mrow>"


def bare(pieces: list[str]) -> str:
    """Return pieces as one element, without the parentheses if the only piece is a group in parentheses."""
    match = GROUP.fullmatch(pieces[0]) if len(pieces) == 1 else None
    return f"<mrow>{match[1]}</mrow>" if match else row(pieces)


def fraction(above: list[str], below: list[str]) -> str:
    """Return the MathML for a fraction."""
    return f"<mfrac>{bare(above)}{bare(below)}</mfrac>"
