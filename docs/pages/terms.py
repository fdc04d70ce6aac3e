"""Search terms that should lead to a chapter of the course, even if other pages also contain them."""

TERMS = {
    "guess_the_next_letter": ("language model", "bigram", "n-gram"),
    "one_weight": ("chain rule", "gradient descent"),
    "gradient_check": ("central difference", "numerical gradient"),
    "tanh_and_sigmoid": ("tanh", "sigmoid"),
    "complex_step": ("complex-step differentiation", "complex-step derivative"),
    "softmax_cross_entropy": ("softmax", "cross-entropy"),
    "linear_layer": ("matrix product", "linear layer"),
    "rnn_step": ("RNN", "hidden state"),
    "through_time": ("backpropagation through time", "BPTT"),
    "truncation": ("truncated backpropagation through time", "truncated BPTT"),
    "vanishing_and_exploding": ("vanishing gradient", "exploding gradient", "gradient clipping"),
    "lstm": ("LSTM", "forget gate", "input gate", "output gate", "cell state"),
    "gru": ("GRU", "reset gate", "update gate"),
    "initialisation_and_layer_norm": ("initialisation", "layer normalisation"),
    "dropout": ("dropout",),
    "scheduled_sampling": ("scheduled sampling", "teacher forcing"),
    "rmsprop": ("RMSprop", "learning rate"),
    "sampling_and_temperature": ("temperature", "top-k", "top-p", "entropy"),
    "it_writes": ("training loop", "overfitting", "epoch"),
}
"""Search terms, by lesson name."""


def index_terms(name: str) -> list[str]:
    """Return a list with a lesson's index directive, or an empty list if the lesson has no terms."""
    if name not in TERMS:
        return []
    terms = ", ".join(f"! {term}" for term in TERMS[name])
    return [f"```{{index}} {terms}\n```"]
