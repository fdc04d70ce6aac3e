"""Write ``.onnx`` files, which contain graphs of ONNX RNN, LSTM or GRU operators.

    step       ids (B,),   h, c (L, B, H)  →  logits (B, V),     h_next, c_next (L, B, H)
    sequence   ids (T, B), h, c            →  logits (T, B, V),  h_next, c_next

Only an LSTM has c and c_next. The ids are int64. B and T are dynamic dimensions. On the first call, pass
zeros for h and c; on later calls, pass h_next and c_next from the previous call. Each layer is one operator
with W (1, G, D), R (1, G, H) and both biases (1, 2G). The gates in these arrays are ordered as follows:

              ONNX        minichar
    RNN       h           h
    LSTM      i o f c     i f o g
    GRU       z r h       r z n       h = (1 - z) ∘ n + z ∘ h_prev in both

``linear_before_reset`` is 1 if the reset gate is applied after the matrix product, otherwise 0.
The vocabulary and configuration are stored as JSON in the model's metadata, under the key ``minichar``.
float16 weights are stored as float16 and cast to float32 at run time.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minichar.checkpoints.checkpoint import header_of
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.extras import need
from minichar.formats.gates import ONNX, Counterpart, counterpart, split
from minichar.model import CharRNN

OPSET = 17
IR_VERSION = 8
"""The IR version that corresponds to opset 17. Newer versions are supported by fewer runtimes."""
MAX_BYTES = (2 << 30) - 1
"""Maximum size of a protobuf message."""


def to_bytes(model: CharRNN, weights: dict[str, np.ndarray], path: Path, sequence: bool = False) -> bytes:
    """Return the contents of an ``.onnx`` file whose graph processes one time step or a whole sequence.

    Raises a `MinicharError` if the cell has no ONNX counterpart, the onnx package is missing, or the model is
    too large.
    """
    form = counterpart(model.config, ONNX, "ONNX", path)
    onnx = need("onnx", "onnx", str(path))
    if sum(array.nbytes for array in weights.values()) > MAX_BYTES:
        raise MinicharError(f"cannot write {path}: the model exceeds the 2 GiB limit of .onnx; use .npz")
    made = onnx.helper.make_model(
        Graph(onnx, model.config, form, weights).build(sequence),
        producer_name="minichar",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.helper.set_model_props(made, {"minichar": json.dumps(header_of(model))})
    onnx.checker.check_model(made)
    return made.SerializeToString()


class Graph:
    """Builder for an ONNX graph of a network whose cell is equivalent to the operator `form`.

    The weights have the dtype in which they are stored in the file.
    """

    def __init__(self, onnx: Any, config: Config, form: Counterpart, weights: dict[str, np.ndarray]) -> None:
        self.onnx, self.config, self.form, self.weights = onnx, config, form, weights
        stored = weights["readout.W"].dtype
        self.dtype = np.dtype("float32") if stored == np.float16 else stored
        self.states = config.cell.states
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def build(self, sequence: bool) -> Any:
        """Return a graph that processes one time step or a whole sequence."""
        H, V, L = self.config.rnn_size, self.config.vocab_size, self.config.num_layers
        layers = range(1, L + 1)
        run: list[str | int] = ["T"] if sequence else []
        time = self.constant("time_axis", [0])

        x = "ids"
        if not sequence:
            x = self.node("Unsqueeze", [x, time], "run")  # (1, B)
        values = self.constant("off_on", [0, 1], self.dtype)
        x = self.node("OneHot", [x, self.constant("V", V), values], "x1")  # (T, B, V)
        for name in self.states:
            self.node("Split", [name], *[f"{name}{layer}" for layer in layers], axis=0)  # each (1, B, H)
        for layer in layers:
            x = self.layer(layer, x)  # (T, B, H)
        W = self.weights["readout.W"]  # (V, H+1)
        x = self.node("MatMul", [x, self.constant("readout.W", W[:, :-1].T)], "scores")
        x = self.node("Add", [x, self.constant("readout.b", W[:, -1])], "run_logits")  # (T, B, V)
        if sequence:
            self.node("Identity", [x], "logits")
        else:
            self.node("Squeeze", [x, time], "logits")  # (B, V)
        for name in self.states:
            self.node("Concat", [f"{name}{layer}_next" for layer in layers], f"{name}_next", axis=0)

        inputs = [self.value("ids", "int64", *run, "B")]
        inputs += [self.value(name, self.dtype, L, "B", H) for name in self.states]
        outputs = [self.value("logits", self.dtype, *run, "B", V)]
        outputs += [self.value(f"{name}_next", self.dtype, L, "B", H) for name in self.states]
        return self.onnx.helper.make_graph(self.nodes, "minichar", inputs, outputs, self.constants)

    def layer(self, layer: int, x: str) -> str:
        """Add a layer with input x ``(T, B, D)``, and return the name of its output h ``(T, B, H)``."""
        gates = split(self.config, self.weights, layer, self.form)
        b = np.concatenate([gates.b_input, gates.b_recurrent])  # (2G,)
        arrays = {"W": gates.W_input, "R": gates.W_recurrent, "b": b}
        constants = [self.constant(f"layer{layer}.{name}", array[None]) for name, array in arrays.items()]
        attributes = {"hidden_size": self.config.rnn_size, **self.form.attributes}
        lengths = ""  # optional input, omitted because every sequence has length T
        before = [f"{name}{layer}" for name in self.states]
        after = [f"{name}{layer}_next" for name in self.states]
        y = self.node(self.form.name, [x, *constants, lengths, *before], f"y{layer}", *after, **attributes)
        direction = self.constant(f"direction_axis{layer}", [1])
        return self.node("Squeeze", [y, direction], f"x{layer + 1}")  # y is (T, 1, B, H)

    def node(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its first output."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, name: str, values: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Add a constant and return its name or, for float16, the name of its cast to float32."""
        array = np.asarray(values, dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        if array.dtype != np.float16:
            return name
        return self.node("Cast", [name], f"{name}.float32", to=self.onnx.TensorProto.FLOAT)

    def value(self, name: str, dtype: DTypeLike, *shape: str | int) -> Any:
        """Return the protobuf description of a graph input or output."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, shape)
