"""Tests that training gives the same losses on every device, makes few copies and resumes exactly."""

from dataclasses import replace

import numpy as np
import pytest
from devices import open_device

from minichar.checkpoints.checkpoint import load_training
from minichar.devices.cpu import CPU
from minichar.devices.random import Uniform
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.batches import split_text
from minichar.text.resets import find_resets
from minichar.text.vocabulary import Vocabulary
from minichar.training.choose import masking
from minichar.training.events import Evaluated, Saved, Step
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep
from minichar.training.trainer import Trainer

TEXT = "a sad cab bade a bad dad" * 5
VOCABULARY = Vocabulary("".join(sorted(set(TEXT))))
T, B = 3, 3

# All options are enabled. An epoch has 7 chunks. The learning rate and the teacher-forcing ratio change
# after every epoch.
EVERYTHING = Settings(
    seq_length=T,
    batch_size=B,
    max_epochs=3,
    learning_rate=0.02,
    warmup=0.0,
    learning_rate_decay=0.5,
    learning_rate_decay_after=1,
    grad_clip=0.5,
    clip_norm=0.4,
    weight_decay=0.3,
    use_ss=True,
    start_ss=1.0,
    decay_ss=0.3,
    min_ss=0.5,
    dropout=0.3,
    weight_drop=0.2,
    ema=0.9,
    dtype="float64",
    eval_val_every=5,
    max_val_chunks=0,
    patience=0,
)


def trainer_on(backend, settings, cell="lstm", L=2, resumed=None, embedding=0, tied=False, layer_norm=False):
    """Return a trainer that resumes a run, or starts from weights that are the same on every device."""
    split = split_text(VOCABULARY.encode(TEXT), B, T, train_frac=0.55, val_frac=0.45)
    if resumed is None:
        parts = {"embedding": embedding, "tied": tied, "layer_norm": layer_norm}
        config = Config(len(VOCABULARY), cell, rnn_size=6, num_layers=L, **parts, **masking(settings))
        model, training = CharRNN.new(config, VOCABULARY, 3, settings.dtype, backend), None
    else:
        model, training = load_training(resumed, backend)
    return Trainer(model, split, settings, {}, "", training)


BOTH_KINDS = pytest.mark.parametrize("backend", ["cpu", "cupy-double"], indirect=True)
"""Run once with NumPy's generator and once with a generator that counts blocks, as on other devices."""


class OnTheHost(Uniform):
    """Generator whose random numbers are drawn on a device and copied to the host, for runs on the CPU."""

    def __init__(self, device, *words):
        self.device, self.uniform = device, device.uniform(*words)

    def random(self, shape, dtype="float64"):
        return self.device.to_host(self.uniform.random(shape, dtype))


def losses_of(trainer, n):
    losses = []
    for _ in range(n):
        trainer.set_rates()
        losses.append(float(trainer.backend.to_host(trainer.learn())))
    return losses


class TestParity:
    def test_steps_without_random_numbers_agree_with_the_cpu(self, device):
        """In float32 and with the same seed, the losses and the final weights agree."""
        settings = replace(EVERYTHING, dtype="float32", dropout=0.0, weight_drop=0.0, use_ss=False)
        here, there = (trainer_on(backend, settings) for backend in (CPU, device))
        np.testing.assert_allclose(losses_of(there, 15), losses_of(here, 15), rtol=0, atol=1e-5)
        weights = device.to_host(there.model.parameters.flat)
        np.testing.assert_allclose(weights, here.model.parameters.flat, rtol=0, atol=1e-4)

    @pytest.mark.parametrize(
        ("ss_feed", "embedding", "tied"), [("sample", 0, False), ("argmax", 4, False), ("sample", 6, True)]
    )
    def test_with_the_random_numbers_of_the_device_the_cpu_gives_the_same_losses(
        self, ss_feed, embedding, tied, device
    ):
        """The learning rate and ratio change every epoch, and captured steps must use the new values."""
        settings = replace(EVERYTHING, ss_feed=ss_feed)
        here, there = (
            trainer_on(backend, settings, L=1, embedding=embedding, tied=tied) for backend in (CPU, device)
        )
        here.generator = OnTheHost(device, settings.seed, 1)
        assert len(there.split.train) == 7
        np.testing.assert_allclose(losses_of(there, 15), losses_of(here, 15), rtol=0, atol=1e-5)
        average = device.to_host(there.model.parameters.flat)
        np.testing.assert_allclose(average, here.model.parameters.flat, rtol=0, atol=1e-5)
        assert abs(average - device.to_host(there.step.theta.flat)).max() > 1e-3


class TestRecording:
    """Tests that a captured step uses the current inputs and rates at every replay."""

    @pytest.fixture(params=[pytest.param("gpu", marks=pytest.mark.gpu)])
    def gpu(self, request):
        return open_device(request.param)

    def test_a_recorded_step_is_replayed(self, gpu, monkeypatch):
        calls = []
        right = TrainingStep._gradient
        monkeypatch.setattr(
            TrainingStep, "_gradient", lambda step, feed: (calls.append(feed), right(step, feed))[0]
        )
        trainer = trainer_on(gpu, EVERYTHING)
        losses_of(trainer, 7)  # an epoch of teacher forcing: two warm-up calls and one capture
        assert len(calls) == 3
        losses_of(trainer, 10)  # scheduled sampling is captured separately
        assert len(calls) == 6

    @pytest.mark.parametrize(
        ("masks", "layer_norm"), [({}, True), ({"dropout": 0.0, "weight_drop": 0.0}, False)]
    )
    def test_a_replay_gives_the_losses_of_separate_launches(self, masks, layer_norm, cell, gpu):
        """The losses are equal bit for bit, for teacher forcing and then for scheduled sampling."""
        separate = open_device("gpu")
        separate.recorded = lambda step, agree=bool: step
        settings = replace(EVERYTHING, **masks)
        there, here = (
            trainer_on(backend, settings, cell, layer_norm=layer_norm) for backend in (gpu, separate)
        )
        assert losses_of(there, 11) == losses_of(here, 11)
        for parts in (there.step.forced_parts, there.step.mixed_parts):
            assert [part.graph is not None for part in parts] == [True]

    def test_the_resets_of_each_chunk_are_replayed(self, gpu):
        settings = replace(EVERYTHING, dropout=0.0, weight_drop=0.0, use_ss=False)
        ids = VOCABULARY.encode(TEXT)
        losses = []
        for backend, separator in ((CPU, " "), (gpu, " "), (CPU, "")):
            trainer = trainer_on(backend, settings)
            resets = find_resets(ids, VOCABULARY.encode(separator))
            trainer.train = split_text(ids, B, T, train_frac=0.55, val_frac=0.45, resets=resets).train
            losses.append(np.array(losses_of(trainer, 20)))
        assert abs(losses[1] - losses[0]).max() < 1e-5
        assert abs(losses[2] - losses[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("dropout", "ratio", "ss_feed"), [(0.0, 1.0, "sample"), (0.3, 0.5, "sample"), (0.3, 0.5, "argmax")]
)
def test_a_step_copies_one_array_to_the_device_and_none_back_until_the_loss_is_read(
    dropout, ratio, ss_feed, backend, count_copies
):
    """Inputs and targets are copied as one array, and masks are drawn on the device."""
    settings = replace(EVERYTHING, dropout=dropout, start_ss=ratio, min_ss=ratio, ss_feed=ss_feed)
    trainer = trainer_on(backend, settings)
    counts = count_copies(backend)
    steps = 2 if backend.kind == "opencl" else 5  # on a GPU, enough for warm-up, capture and replay
    for _ in range(steps):
        before = dict(counts)
        trainer.set_rates()
        loss = trainer.learn()
        assert counts == {"to_device": before["to_device"] + 1, "to_host": before["to_host"]}
        event = Step(trainer.iteration, trainer.epoch, loss, trainer.backend.to_host)
        repr(event)
        event.loss
        assert counts == {way: n + 1 for way, n in before.items()}


def test_a_run_whose_losses_are_not_read_copies_only_the_first_loss_back(backend, tmp_path, count_copies):
    """The trainer reads the first loss because it compares later losses with it."""
    settings = replace(EVERYTHING, checkpoint_dir=str(tmp_path), max_epochs=1, eval_val_every=99)
    trainer = trainer_on(backend, settings)
    copies = count_copies(backend)
    for event, _ in zip(trainer.run(), range(4), strict=False):
        assert isinstance(event, Step)
    assert copies["to_host"] == 1
    assert trainer.first_loss == pytest.approx(np.log(len(VOCABULARY)), rel=0.05)


class TestRun:
    """Tests for the complete training loop: steps, evaluation, checkpoints and resuming."""

    @pytest.fixture
    def run(self, backend, tmp_path):
        """Return a function that runs a trainer and returns ``(trainer, losses, paths)``."""

        def run(folder, resumed=None, **changes):
            changes = {"max_epochs": 2, "checkpoint_dir": str(tmp_path / folder)} | changes
            settings = replace(EVERYTHING, **changes)
            trainer = trainer_on(backend, settings, resumed=resumed)
            losses, paths = [], []
            for event in trainer.run():
                match event:
                    case Step():
                        losses.append(event.loss)
                    case Evaluated():
                        losses.append(event.val.loss)
                    case Saved():
                        paths.append(event.path)
            return trainer, losses, paths

        return run

    def test_a_run_resumes_exactly(self, run, backend, host):
        """Resuming mid-epoch with dropout and scheduled sampling is bitwise exact."""
        whole, losses, paths = run("whole")
        assert len(paths) == 3
        for one in (CPU, backend):  # a checkpoint loads on every device
            weights = one.to_host(load_training(paths[-1], one)[0].parameters.flat)
            np.testing.assert_array_equal(weights, host(whole.model.parameters.flat))
        resumed, rest, _ = run("resumed", resumed=paths[0])
        assert rest == losses[-len(rest) :]
        assert len(rest) == 9 + 2  # chunks 6 to 14, and evaluations after chunks 10 and 14
        np.testing.assert_array_equal(host(resumed.model.parameters.flat), host(whole.model.parameters.flat))
        assert resumed.generator.state == whole.generator.state
        if backend.kind != "cpu":
            # Each chunk draws two dropout masks and two DropConnect masks, and in the second epoch also two
            # blocks for scheduled sampling.
            assert whole.generator.state == {"blocks": 4 * 14 + 2 * 7}
        assert list(resumed.history) == list(whole.history)

    @BOTH_KINDS
    def test_resuming_on_another_device_uses_a_new_generator_state(self, run, backend, tmp_path):
        """A generator state can be restored only on the kind of device it was saved on."""
        _, _, paths = run("first", max_epochs=1)
        model, training = load_training(paths[0], backend)
        training.progress = replace(training.progress, device="another", random={"of": "another"})
        elsewhere = Trainer(model, trainer_on(backend, EVERYTHING).split, EVERYTHING, {}, "", training)
        assert elsewhere.generator.state == backend.uniform(EVERYTHING.seed, 1).state
        losses_of(elsewhere, 1)

    @pytest.mark.parametrize("value", [np.nan, 1e30])
    def test_a_failed_loss_does_not_change_the_parameters(self, value, backend, host):
        """No loss is read between steps, so the step itself must keep the parameters unchanged."""
        trainer = trainer_on(backend, EVERYTHING)
        trainer.checked(trainer.learn())
        trainer.step.theta["readout.W"][...] *= value
        before = host(trainer.step.theta.flat).copy()
        for _ in range(3):
            trainer.learn()
        np.testing.assert_array_equal(host(trainer.step.theta.flat), before)
        with pytest.raises(MinicharError, match=r"training failed: .*Parameter readout\.W"):
            trainer.checked(trainer.step.worst)
