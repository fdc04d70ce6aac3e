"""The public Python API, imported lazily on first use."""

from minichar.api.loading import load
from minichar.api.model import Model, generate_many, save
from minichar.api.ngram import ngram_loss
from minichar.api.training import train
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.batches import split_text
from minichar.text.corpus import load_corpus
from minichar.text.vocabulary import Vocabulary
from minichar.training.evaluation import Evaluation
from minichar.training.optimiser import RMSprop
from minichar.training.settings import Settings

__all__ = [
    "CharRNN",
    "Evaluation",
    "MinicharError",
    "Model",
    "RMSprop",
    "Settings",
    "Vocabulary",
    "generate_many",
    "load",
    "load_corpus",
    "ngram_loss",
    "save",
    "split_text",
    "train",
]
