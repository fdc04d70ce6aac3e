import random

import pytest

from minichar.text import encodings
from minichar.text.encodings import CAPITAL, CYRILLIC, LATIN, suggest

RUSSIAN = "Когда дождь кончился, мы вышли во двор.\nЧАСТЬ ВТОРАЯ\nЧайник шипел, щёки горели.\n"
SIMPLIFIED = "春天来了，河边的树都绿了。孩子们在草地上跑来跑去。\n我们明天再去看他，好不好？\n"
TRADITIONAL = "春天來了，河邊的樹都綠了。孩子們在草地上跑來跑去。\n我們明天再去看他，好不好？\n"
JAPANESE = "春になると、川のそばの木が緑になる。\n明日またコーヒーを飲みに行きましょう。\n"
KOREAN = "봄이 오면 강가의 나무들이 푸르러진다.\n내일 다시 갑시다.\n"
FRENCH = "L'été dernier, nous étions à la mer. « Où êtes-vous ? » dit-elle, étonnée.\n"
SPANISH = "¿Dónde está el niño? ¡Mañana volverá con su señora!\n"
GERMAN = "Die Straße war naß. „Schön“, sagte er – über Öl und Äpfel.\n"
POLISH = "Pójdźmy już na łąkę, gdzie świeci słońce, rzekł książę do żony.\n"
GREEK = "Όταν σταμάτησε η βροχή, βγήκαμε στην αυλή και κοιτάζαμε τον ουρανό.\n"
ENGLISH = "He said “no” — and it wasn’t the first time…\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "utf-16-le"),
        (SIMPLIFIED, "gb18030"),
        (SIMPLIFIED, "utf-16-be"),
        (TRADITIONAL, "cp950"),
        ("那裏有一座廟\n", "cp950"),  # Python's big5 lacks the second character
        (TRADITIONAL, "gb18030"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (KOREAN, "euc_kr"),
        (FRENCH, "cp1252"),
        (FRENCH, "utf-8"),
        (GERMAN, "cp1252"),
        (SPANISH, "cp1252"),
        (POLISH, "cp1250"),
        (GREEK, "cp1253"),
        (ENGLISH, "cp1252"),
        ("a\nb\n", "utf-16-le"),
        (POLISH.replace(" ", ""), "utf-16-le"),
        (GREEK, "utf-16-le"),
        ("コーヒーとケーキ\n", "utf-16-le"),
        (KOREAN, "utf-16-be"),
        ("臺灣國語學會歡迎親愛讀者\n", "cp950"),
        ("“好！”“走？”\n", "gb18030"),
        ("「はい。」「いや！」\n", "cp932"),
    ],
)
def test_the_correct_encoding_is_suggested_first(text, encoding):
    first, excerpt = suggest(text.encode(encoding), 0, "ascii")[0]
    assert first == encoding
    assert excerpt in " ".join(text.split())


def test_a_title_in_capitals_is_among_the_suggestions():
    title = "ВОЙНА И МИР\nЧАСТЬ ПЕРВАЯ\n"
    for encoding in ("koi8_r", "cp1251"):
        assert (encoding, "ВОЙНА И МИР ЧАСТ") in suggest(title.encode(encoding), 0, "utf-8")


@pytest.mark.parametrize(
    ("text", "encoding", "wrong"),
    [
        (TRADITIONAL, "cp950", "gb18030"),
        (JAPANESE, "cp932", "gb18030"),
        (SIMPLIFIED, "gb18030", "cp1252"),
        (RUSSIAN, "koi8_r", "cp1252"),
        (RUSSIAN, "cp1251", "cp1252"),
        (POLISH, "cp1250", "cp1252"),
        (FRENCH, "cp1252", "gb18030"),
        (FRENCH, "cp1252", "cp1251"),
        (SIMPLIFIED, "euc_jp", "euc_jp"),
    ],
)
def test_text_that_is_decoded_as_gibberish_is_not_suggested(text, encoding, wrong):
    raw = text.encode(encoding, "ignore")
    assert raw.decode(wrong, "ignore").isascii() is False
    assert wrong not in dict(suggest(raw, 0, "utf-8"))


def test_binary_data_has_no_suggestion():
    generator = random.Random(1)
    for size in (*range(20), 5000):
        suggested = suggest(generator.randbytes(size), 0, "utf-8")
        assert suggested == [] or size < 20
    assert suggest(b"\0" + FRENCH.encode("cp1252"), 0, "utf-8") == []


def test_the_number_of_suggestions_is_limited():
    raw = KOREAN.encode("euc_kr")
    assert [name for name, _ in suggest(raw, 0, "utf-8", number=2)] == ["euc_kr", "gb18030"]
    assert "gb18030" not in dict(suggest(raw, 0, "gb18030"))  # it has been rejected
    assert suggest("naïve".encode(), 0, "ascii") == [("utf-8", "naïve")]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("head", ["", "a\n" * 4096, "c" * 4096], ids=["none", "lines", "one line"])
def test_the_text_from_the_undecodable_line_on_is_considered(monkeypatch, encoding, head):
    monkeypatch.setattr(encodings, "SAMPLE", 4096)
    raw = (head + SIMPLIFIED * 40).encode(encoding)
    offset = len(head.encode(encoding)) + len("春天".encode(encoding))
    first, excerpt = suggest(raw, offset, "utf-8")[0]
    assert first == encoding
    assert head[:1] != "a" or excerpt.startswith("春天来了")


@pytest.mark.parametrize("size", range(8, 12))
def test_an_incomplete_character_at_the_end_of_the_sample_is_allowed(monkeypatch, size):
    monkeypatch.setattr(encodings, "SAMPLE", size)
    assert dict(suggest(SIMPLIFIED.encode("gb18030"), 0, "utf-8"))["gb18030"] == "春天来了，"[: size // 2]


def test_unprintable_characters_are_not_printed():
    assert suggest("\x1b[2Jété\n".encode("cp1252"), 0, "utf-8")[0] == ("cp1252", "?[2Jété")


def test_the_share_of_plausible_characters():
    """Decoded text is plausible if at least three out of four characters are common."""
    common, rare = "春".encode("gb18030"), "龘".encode("gb18030")
    assert "gb18030" in dict(suggest(common * 6 + rare * 2, 0, "utf-8"))
    assert "gb18030" not in dict(suggest(common * 5 + rare * 2, 0, "utf-8"))


@pytest.mark.parametrize(
    ("before", "character", "after", "alphabet", "expected"),
    [
        (" ", "О", "й", CYRILLIC, 1),
        ("В", "О", "й", CYRILLIC, CAPITAL),
        ("в", "О", "й", CYRILLIC, 0),
        ("в", "о", "o", CYRILLIC, 0),
        ("o", "о", "в", CYRILLIC, 0),
        ("в", "»", " ", CYRILLIC, 1),
        ("в", "±", " ", CYRILLIC, 0),
        ("t", "é", "e", LATIN, 1),
        ("é", "é", "e", LATIN, 1),
        ("é", "é", "é", LATIN, 0),
    ],
)
def test_the_plausibility_of_a_letter_depends_on_its_neighbours(before, character, after, alphabet, expected):
    assert encodings._fits(before, character, after, alphabet) == expected
