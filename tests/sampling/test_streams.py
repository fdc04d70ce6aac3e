import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import toy_model

from minichar import CharRNN, Choice, MinicharError, Vocabulary, generate
from minichar.engine.config import Config
from minichar.sampling.generate import STREAM, prime_ids
from minichar.sampling.streams import BLOCK, Stream, Streams, uniform_numbers

MODEL = toy_model(dtype="float32", rnn_size=33).exact()
CHOICES = [Choice(), Choice(0.5), Choice(2.0, top_k=3), Choice(top_p=0.7), Choice(argmax=True)]


def stream(model, prime="", seed=1, choice=Choice(), given=None):
    return Stream(prime_ids(model.vocabulary, prime), choice, np.random.default_rng((seed, STREAM, 0)), given)


def alone(model, n, prime="", seed=1, choice=Choice()):
    return "".join(generate(model, n, prime, seed, choice=choice)) if n else ""


def test_a_streams_numbers_are_its_generators_however_many():
    n = 2 * BLOCK + 3
    numbers = uniform_numbers(np.random.default_rng(1))
    assert [next(numbers) for _ in range(n)] == np.random.default_rng(1).random(n).tolist()


class Company:
    """Texts that come and go, and what each has written."""

    def __init__(self, model):
        self.model, self.streams, self.texts = model, Streams(model), {}

    def join(self, **options):
        one = stream(self.model, **options)
        self.texts[one] = ("", options)
        self.streams.join(one)

    def step(self):
        for one, k in zip(*self.streams.step()[:2], strict=True):
            text, options = self.texts[one]
            self.texts[one] = text + self.model.vocabulary.characters[k], options

    def check(self):
        for text, options in self.texts.values():
            assert text == alone(self.model, len(text), **options)


visit = st.fixed_dictionaries(
    {"prime": st.text("abcd \n", max_size=5), "seed": st.integers(0, 9), "choice": st.sampled_from(CHOICES)}
)
event = st.one_of(visit, visit, st.integers(0, 40), st.just("steps"), st.just("steps"))


@given(st.lists(event, max_size=40))
def test_a_text_does_not_depend_on_who_shares_its_batch(events):
    company = Company(MODEL)
    for happens in events:
        present = company.streams.streams
        if isinstance(happens, dict):
            company.join(**happens)
        elif happens == "steps":
            for _ in range(7):
                company.step()
        elif present:
            company.streams.leave(present[happens % len(present)])
    company.check()


@pytest.mark.parametrize("size", [64, 128])
def test_a_text_in_a_crowd_is_the_text_alone(cell, size):
    """At sizes where one column, a few and many are multiplied by different code; a float32 product fails."""
    vocabulary = Vocabulary("\n " + "".join(map(chr, range(97, 123))))
    model = CharRNN.new(Config(len(vocabulary), rnn_size=size, num_layers=2, **cell), vocabulary, seed=1)
    model.parameters.flat[...] *= 8
    company = Company(model.exact())
    for i in range(70):
        company.join(seed=i, choice=Choice(1 + 0.01 * (i % 2)))
        company.step()
    for _ in range(150):
        company.step()
    company.check()


def test_a_crowd_on_a_device(device):
    model = CharRNN.new(MODEL.config, MODEL.vocabulary, 1, backend=device)
    model.parameters.flat[...] *= 8
    company = Company(model.exact())
    for i in range(9):
        company.join(seed=i, prime="ab")
    for _ in range(20):
        company.step()
    company.check()


def test_columns_come_and_go():
    streams, many = Streams(MODEL), [stream(MODEL) for _ in range(20)]
    widths = []
    for one in many:
        streams.join(one)
        widths.append(streams.network.B)
    assert widths == [1, 2, 4, 4] + [8] * 4 + [16] * 8 + [32] * 4
    for one in many:
        streams.leave(one)
    assert streams.network.B <= 2
    assert streams.streams == []


def test_a_given_character_takes_the_place_of_the_drawn_one():
    """And the text that begins with it goes on as if it had been drawn."""
    text = alone(MODEL, 30, "ab", seed=3)

    def written_with(given):
        streams, written = Streams(MODEL), ""
        streams.join(stream(MODEL, "ab", 3, given=given))
        while len(written) < 30:
            written += "".join(MODEL.vocabulary.characters[k] for k in streams.step()[1])
        return written

    assert written_with({}) == text
    written = written_with({10: MODEL.vocabulary.encode("d")[0]})
    assert written[:11] == text[:10] + "d"
    assert written != text
    assert written_with(dict(enumerate(MODEL.vocabulary.encode(written[:20])))) == written


def test_scores_are_those_the_ids_were_chosen_from():
    streams = Streams(MODEL)
    for seed in range(3):
        streams.join(stream(MODEL, "ab"[: seed + 1], seed, Choice(argmax=True)))
    for _ in range(5):
        writers, ids, scores = streams.step()
        assert scores.shape == (len(MODEL.vocabulary), len(writers))
        assert scores.argmax(axis=0).tolist() == ids.tolist()


def test_nothing_read_nothing_known():
    model = toy_model("abcde", unknown=True)
    streams = Streams(model)
    for seed in (1, 2):
        streams.join(Stream([], Choice(), np.random.default_rng(seed)))
    _, _, scores = streams.step()
    assert scores.tolist() == [[0, 0]] * 5 + [[-np.inf] * 2]
    _, _, scores = streams.step()
    assert len(np.unique(scores[:5])) > 5


def test_damaged_weights_are_told():
    model = toy_model()
    model.parameters["readout.W"][...] = 1e308
    streams = Streams(model.exact())
    streams.join(stream(model))
    with pytest.raises(MinicharError, match="not finite"):
        streams.step()
