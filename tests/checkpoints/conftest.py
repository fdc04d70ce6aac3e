import numpy as np
import pytest
from toys import toy_model

from minichar.checkpoints.training_state import Progress, TrainingState


@pytest.fixture
def training_of():
    """Return a function that creates a training state for a toy model with the given history."""
    model = toy_model()
    m, state = np.zeros(model.parameters.size), np.zeros(model.config.state_shape(2))
    return lambda history: TrainingState(m, state, Progress(9, 3.0, 1, 2.5, "cpu", {}, 0), history)
