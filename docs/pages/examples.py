"""Groups of public names, with an example for each group. The tests run the examples in order."""

from typing import NamedTuple


class Group(NamedTuple):
    """Related names, with an example that uses all of them."""

    title: str
    names: tuple[str, ...]
    example: str


GROUPS = (
    Group(
        "Train and load a model",
        ("train", "load", "Model", "Evaluation"),
        """\
import minichar

minichar.train("data/pydocs", model="gru", rnn_size=64, max_epochs=1, checkpoint_dir="cv-api")

model: minichar.Model = minichar.load("cv-api")  # the best checkpoint
print(model.generate("A class ", length=200, temperature=0.5, seed=1))

result: minichar.Evaluation = model.evaluate("A class is an object.")
print(result.loss, result.bits, result.perplexity)
""",
    ),
    Group(
        "Generate text",
        ("generate_many",),
        """\
import minichar

model = minichar.load("cv-api")

for piece in model.stream("The ", length=200, temperature=0.7, min_p=0.1, seed=1):
    print(piece, end="", flush=True)

samples = ["", "", ""]
for pieces in minichar.generate_many(model, 3, length=100, temperature=0.7, min_p=0.1, seed=1):
    samples = [text + piece for text, piece in zip(samples, pieces)]
print(samples)
""",
    ),
    Group(
        "Prepare training text",
        ("load_corpus", "Vocabulary", "split_text", "ngram_loss"),
        """\
import minichar

corpus = minichar.load_corpus("data/pydocs")
vocabulary: minichar.Vocabulary = corpus.vocabulary
print(len(vocabulary), vocabulary.decode(vocabulary.encode("class")))

split = minichar.split_text(corpus.ids, B=20, T=25)
inputs, targets = split.train[0]  # (T, B) each
print(vocabulary.decode(inputs[:, 0]))

text = vocabulary.decode(corpus.ids)
half = len(text) // 2
print(minichar.ngram_loss(text[:half], text[half:]))  # nats per character, without a network
""",
    ),
    Group(
        "Train step by step",
        ("Settings", "RMSprop", "CharRNN", "save"),
        """\
import minichar

settings = minichar.Settings(learning_rate=8e-3)  # the options of `minichar train`
corpus = minichar.load_corpus("data/pydocs")
split = minichar.split_text(corpus.ids, B=20, T=25)

model: minichar.CharRNN = minichar.Model.create(corpus.vocabulary, rnn_size=32, num_layers=1)
network = model.network(split.T, split.B)
optimiser = minichar.RMSprop(model.parameters, settings.decay_rate)
for inputs, targets in split.train:
    loss = network.loss_and_gradient(inputs, targets)  # forward and backward pass
    optimiser.step(network.gradient.flat, settings.learning_rate)
    network.carry()

print(float(loss))
minichar.save("step-by-step.npz", model)
""",
    ),
    Group(
        "Handle errors",
        ("MinicharError",),
        """\
import minichar

try:
    minichar.load("missing.npz")
except minichar.MinicharError as error:
    print(error)  # one line: what is wrong, and how to fix it
""",
    ),
)
