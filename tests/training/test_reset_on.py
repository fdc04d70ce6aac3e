"""Tests for ``reset_on``: training and evaluation on text made up of independent documents."""

import numpy as np
import pytest
from naive import read_chunk
from toys import TEXT, take, toy_model, toy_settings

from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.text.batches import split_text
from minichar.training.evaluation import evaluate_blocks, evaluate_streams
from minichar.training.events import Evaluated
from minichar.training.settings import Settings
from minichar.training.start import begin, resume
from minichar.training.step import TrainingStep

T, B = 5, 2


@pytest.fixture(params=["a", ""])
def model(request):
    return with_reset_on(request.param, toy_model("abcd", rnn_size=3))


@pytest.fixture
def ids(generator):
    return generator.integers(4, size=151).astype("uint8")  # 150 targets


def with_reset_on(separator, model):
    model.details["settings"] = Settings(reset_on=separator).to_json()
    return model


def naive_loss(model, inputs, targets, state_mask):
    """Return the mean loss over one sequence ``(n,)``, computed one step at a time with manual resets."""
    total, zero = 0.0, np.zeros(model.config.state_shape(1))
    state = zero
    for x, y, kept in zip(inputs, targets, state_mask, strict=True):
        chunk = np.array([[x]]), np.array([[y]])  # (1, 1) each
        loss, state = read_chunk(model.config, model.parameters, *chunk, state if kept else zero)
        total += loss
    return total / len(inputs)


def naive_losses(model, ids, streams):
    """Return the mean loss of each stream of positions in the text."""
    state_mask = ids != 0 if model.reset_on else ids >= 0
    return [naive_loss(model, ids[at], ids[at + 1], state_mask[at]) for at in streams]


class TestEvaluation:
    """Tests for evaluation. The id of the separator, if there is one, is 0."""

    @pytest.mark.parametrize(("n", "T"), [(151, 1), (151, 7), (151, 149), (151, 150), (151, 151), (2, 1)])
    def test_the_whole_text(self, model, ids, n, T):
        """The result does not depend on the chunk length."""
        (wanted,) = naive_losses(model, ids, [np.arange(n - 1)])
        result = evaluate_streams(model, ids[None, :n], T, resets=model.resets(ids))
        assert result.loss == pytest.approx(wanted, rel=1e-12)
        assert result.characters == n - 1
        if n > 2:
            without = evaluate_streams(model, ids[None], T).loss
            assert (abs(result.loss - without) > 1e-6) == bool(model.reset_on)

    @pytest.mark.parametrize("how", ["columns", "tail"])
    def test_a_part(self, model, ids, how):
        split = split_text(ids, B, T, 0.6, 0.2, how, model.resets(ids))
        positions = split_text(np.arange(151), B, T, 0.6, 0.2, how)
        for part in ("train", "val", "test"):
            streams = [at[:-1] for at in getattr(positions, part).streams]
            chunks = getattr(split, part)
            result = evaluate_streams(model, chunks.streams, T, resets=chunks.resets)
            assert result.characters == sum(map(len, streams))
            assert result.loss == pytest.approx(np.mean(naive_losses(model, ids, streams)), rel=1e-12)

    @pytest.mark.parametrize("at_a_time", [4, 64])
    def test_blocks(self, model, ids, monkeypatch, at_a_time):
        """The state is reset at the start of each block and at each separator within the block."""
        split = split_text(ids, B, T, 0.5, 0.5, "tail", model.resets(ids))
        positions = split_text(np.arange(151), B, T, 0.5, 0.5, "tail").val.streams
        monkeypatch.setattr("minichar.training.evaluation.BLOCKS", at_a_time)
        streams = [at[i : i + 7] for at in positions for i in range(0, positions.shape[1] - 7, 7)]
        assert len(streams) % 4 == 2 < 4 < len(streams)
        result = evaluate_blocks(model, split.val.streams, 7, resets=split.val.resets)
        losses = naive_losses(model, ids, streams)
        assert result.characters == 7 * len(streams)
        assert result.loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert result.first == pytest.approx(np.mean(losses[:at_a_time]), rel=1e-12)
        assert result.last == pytest.approx(np.mean(losses[-2:] if at_a_time == 4 else losses), rel=1e-12)


class TestTraining:
    def test_a_document_is_trained_on_from_a_zero_state(self, tmp_path):
        """With one document per chunk, training with resets equals training each chunk from a zero state."""
        text = "".join("\n" + "abcde"[k % 5] * 5 for k in range(200))
        options = {"batch_size": 1, "seq_length": 6, "use_ss": False, "split": "tail"}
        one, two = (
            begin(toy_settings(tmp_path, text, reset_on=separator, **options)).trainer
            for separator in ("\n", "")
        )
        for _ in range(20):
            one.set_rates()
            two.set_rates()
            two.step.network.reset()
            assert float(one.learn()) == float(two.learn())
        np.testing.assert_array_equal(one.model.parameters.flat, two.model.parameters.flat)

    @pytest.mark.parametrize("epoch_reset", [False, True])
    def test_each_epoch_starts_with_a_new_document_even_without_a_reset_of_the_state(
        self, tmp_path, epoch_reset
    ):
        settings = toy_settings(tmp_path, reset_on="a", epoch_reset=epoch_reset)
        trainer = begin(settings).trainer
        network, n, before = trainer.step.network, len(trainer.train), []
        learn = network.loss_and_gradient
        network.loss_and_gradient = lambda *chunk: (before.append(network.state), learn(*chunk))[1]
        list(trainer.run())
        assert [bool(state.any()) for state in before[::n]] == [False, False]
        assert all(state.any() for state in before[1:n])
        B = trainer.split.B
        assert all(before[b * n // B][..., b].any() != epoch_reset for b in range(1, B))

    def test_validation_resets_the_state_too(self, tmp_path):
        settings = toy_settings(tmp_path, reset_on="\n")
        run = begin(settings)
        trainer = run.trainer
        (evaluated,) = (event for event in take(trainer, 1000) if isinstance(event, Evaluated))
        val, T = trainer.split.val, trainer.split.T
        assert evaluated.val.loss == evaluate_streams(trainer.model, val.streams, T, resets=val.resets).loss
        assert evaluated.val.loss != evaluate_streams(trainer.model, val.streams, T).loss

    def test_a_start_token_is_never_replaced_by_a_prediction(self):
        model = toy_model()
        rates = {"start_ss": 0.0, "min_ss": 0.0, "learning_rate": 8e-3, "weight_decay": 0.0}
        step = TrainingStep(model, T, B, Settings(use_ss=True, **rates))
        step.set_rates(8e-3, 0.0)
        ids = np.random.default_rng(1).integers(6, size=(T + 1, B))
        state_mask = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [1, 1]], bool)
        step.learn(ids[:-1], ids[1:], CPU.uniform(1), state_mask)
        np.testing.assert_array_equal(step.mixed.mask, ~state_mask)
        np.testing.assert_array_equal(step.network.fed[~state_mask], ids[:-1][~state_mask])

    def test_resuming_uses_the_separator_and_cannot_change_it(self, tmp_path):
        trainer = begin(toy_settings(tmp_path, reset_on=".\n")).trainer
        take(trainer, 10)
        path = trainer.saver.saved[-1]
        resumed = resume(path, {}).trainer
        for split in (trainer.split, resumed.split):
            assert split.train.resets.count() == TEXT.count(".\n")
        with pytest.raises(MinicharError) as caught:
            resume(path, {"reset_on": "\n"})
        assert caught.value.with_flags == (
            rf"--reset-on '\n' cannot be used to resume {path}, which has '.\n': omit the option, or start a "
            "new run with --init-from"
        )


class TestStart:
    def test_the_number_of_resets_is_reported(self, tmp_path):
        run = begin(toy_settings(tmp_path, reset_on="the"))
        count = TEXT.count("the")
        assert run.notes == (f"the state is reset at 'the': {count} resets in the text",)
        resets = run.trainer.split.train.resets.at(np.zeros(1, int))
        positions = [k + 2 for k in range(len(TEXT)) if TEXT.startswith("the", k)]
        assert np.flatnonzero(~resets.state_mask(0, len(TEXT))[:, 0]).tolist() == positions

    @pytest.mark.parametrize(
        ("separator", "problem"),
        [
            ("\n\n", r"'\n\n', which does not occur in {}: choose a string that separates its documents"),
            ("\t", r"'\t', but '\t' is not in the vocabulary: choose a string"),
            ("☃" * 1000, "'☃☃☃"),
            (
                "q",
                "'q', but 'q' is not in the vocabulary (absent from the text or too rare): choose a string "
                "that occurs more often, or lower --min-freq",
            ),
        ],
    )
    def test_a_separator_that_does_not_occur(self, tmp_path, separator, problem):
        with pytest.raises(MinicharError) as caught:
            begin(toy_settings(tmp_path, reset_on=separator, min_freq=20 * (separator == "q")))
        path = tmp_path / "input.txt"
        assert caught.value.with_flags.startswith(f"--reset-on is {problem.format(path)}")
        assert len(caught.value.with_flags) < 250 + len(str(path))

    @pytest.mark.parametrize("separator", ["\n", ""])
    def test_a_run_from_other_weights_uses_its_own_setting(self, tmp_path, separator):
        old = with_reset_on("a", toy_model("\n abcd", rnn_size=8))
        trainer = begin(toy_settings(tmp_path, reset_on=separator), model=old).trainer
        assert trainer.model.reset_on == separator  # also before the first checkpoint is saved
        assert old.reset_on == "a"
