"""Encoders of the BERT family, from a Hugging Face directory to ONNX, without torch.

Covers `model_type` bert (MiniLM, E5, BGE and GTE have this shape), roberta and xlm-roberta
(multilingual E5), distilbert and mpnet. The graph is written for opset 17 with plain operators:

    input_ids, attention_mask[, token_type_ids]  i64[batch, sequence]
    -> last_hidden_state  f32[batch, sequence, hidden]

Architecture: Devlin et al., "BERT", NAACL 2019; Song et al., "MPNet", NeurIPS 2020 (relative
position buckets after T5).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pywasm.errors import UserError
from pywasm.safetensors_dir import read_weights

OPSET = 17
CONVERTER_VERSION = 1  # part of the key under which converted models are cached
_LARGEST_SIZE = 1 << 20  # of what a configuration counts
_EXTERNAL_DATA_BYTES = 1_800_000_000  # a protobuf message holds at most 2 GiB

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Family:
    """Where a family keeps its weights (`{i}` is the layer) and what it calls its sizes."""

    layer: str
    query: str
    key: str
    value: str
    attention_out: str
    attention_norm: str
    up: str
    down: str
    norm: str
    token_types: bool = False
    positions_after_padding: bool = False  # positions count from pad_token_id + 1
    relative_positions: bool = False
    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    layers: str = "num_hidden_layers"
    activation: str = "hidden_act"


_BERT = Family(
    layer="encoder.layer.{i}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    norm="output.LayerNorm",
    token_types=True,
)
_ROBERTA = Family(**{**vars(_BERT), "positions_after_padding": True})
_DISTILBERT = Family(
    layer="transformer.layer.{i}.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_out="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    norm="output_layer_norm",
    hidden="dim",
    heads="n_heads",
    layers="n_layers",
    activation="activation",
)
_MPNET = Family(
    layer="encoder.layer.{i}.",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_out="attention.attn.o",
    attention_norm="attention.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    norm="output.LayerNorm",
    positions_after_padding=True,
    relative_positions=True,
)
FAMILIES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _DISTILBERT,
    "mpnet": _MPNET,
}


def convert(directory: Path, target: Path) -> None:
    """Writes `target` (.onnx; beside it `.data` when larger than a protobuf may be).

    Raises UserError for a directory that is not a supported encoder.
    """
    config_file = directory / "config.json"
    if not config_file.is_file():
        raise UserError(f"{directory}: no config.json; expected a Hugging Face model directory")
    try:
        config = json.loads(config_file.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{config_file}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{config_file}: expected an object of settings")
    model = build_model(config, read_weights(directory), str(directory))
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _EXTERNAL_DATA_BYTES
    onnx.save(
        model,
        target,
        save_as_external_data=large,
        location=target.name + ".data" if large else None,
    )


def build_model(config: dict[str, Any], weights: dict[str, F32], where: str) -> onnx.ModelProto:
    """The ONNX model of a configuration and its weights; `where` names them in errors."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UserError(
            f"{where}: model_type {kind!r} is not supported (supported: {', '.join(FAMILIES)}); "
            "give an .onnx file of the model instead"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(
            f"{where}: position_embedding_type {config['position_embedding_type']!r} "
            "is not supported, expected 'absolute'"
        )
    return _Encoder(config, weights, FAMILIES[kind], where).model()


class _Encoder:
    """One conversion: collects nodes and initializers in the order of the computation."""

    def __init__(
        self, config: dict[str, Any], weights: dict[str, F32], family: Family, where: str
    ) -> None:
        self._family = family
        self._where = where
        self._config = config
        words = "embeddings.word_embeddings.weight"
        prefix = next((name[: -len(words)] for name in weights if name.endswith(words)), None)
        if prefix is None:
            raise UserError(f"{where}: no tensor named ...{words}; not an encoder of this family")
        self._weights = {
            name[len(prefix) :]: tensor
            for name, tensor in weights.items()
            if name.startswith(prefix)
        }
        self._hidden = self._size(family.hidden)
        self._heads = self._size(family.heads)
        if self._hidden % self._heads:
            raise UserError(
                f"{where}: hidden size {self._hidden} is no multiple of {self._heads} heads"
            )
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def model(self) -> onnx.ModelProto:
        bias = self._attention_bias()
        hidden = self._embeddings()
        for layer in range(self._size(self._family.layers)):
            hidden = self._layer(layer, hidden, bias)
        self._nodes.append(helper.make_node("Identity", [hidden], ["last_hidden_state"]))

        inputs = ["input_ids", "attention_mask"]
        if self._family.token_types:
            inputs.append("token_type_ids")
        graph = helper.make_graph(
            self._nodes,
            str(self._config["model_type"]),
            [_value(name, TensorProto.INT64, ["batch", "sequence"]) for name in inputs],
            [_value("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", self._hidden])],
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pywasm"
        )
        model.ir_version = 8  # the IR of opset 17: runtimes of 2022 and later read it
        return model

    # --- the parts of the network ---

    def _embeddings(self) -> str:
        family = self._family
        total = self._node(
            "Gather",
            [self._weight("embeddings.word_embeddings.weight", None, self._hidden), "input_ids"],
        )
        table = self._weight("embeddings.position_embeddings.weight", None, self._hidden)
        if family.positions_after_padding:
            padding = int(self._config.get("pad_token_id", 1))
            counted = self._node("CumSum", ["attention_mask", self._constant("axis1", np.int64(1))])
            counted = self._node("Mul", [counted, "attention_mask"])
            positions = self._node("Add", [counted, self._constant("padding", np.int64(padding))])
            total = self._node("Add", [total, self._node("Gather", [table, positions])])
        else:
            total = self._node("Add", [total, self._first_positions(table, axes=[0])])
        if family.token_types:
            types = self._weight("embeddings.token_type_embeddings.weight", None, self._hidden)
            total = self._node("Add", [total, self._node("Gather", [types, "token_type_ids"])])
        return self._norm("embeddings.LayerNorm", total)

    def _layer(self, index: int, hidden: str, bias: str) -> str:
        family = self._family
        prefix = family.layer.format(i=index)
        attended = self._attention(prefix, hidden, bias)
        hidden = self._norm(prefix + family.attention_norm, self._node("Add", [attended, hidden]))
        width = self._tensor(f"{prefix}{family.up}.weight", None, self._hidden).shape[0]
        inner = self._activation(self._linear(prefix + family.up, hidden, self._hidden, width))
        outer = self._linear(prefix + family.down, inner, width, self._hidden)
        return self._norm(prefix + family.norm, self._node("Add", [outer, hidden]))

    def _attention(self, prefix: str, hidden: str, bias: str) -> str:
        family = self._family
        size = self._hidden // self._heads
        split = self._constant("split_heads", np.array([0, 0, self._heads, size], np.int64))
        join = self._constant("join_heads", np.array([0, 0, self._hidden], np.int64))

        def heads(name: str, order: list[int]) -> str:
            made = self._linear(prefix + name, hidden, self._hidden, self._hidden)
            rows = self._node("Reshape", [made, split])
            return self._node("Transpose", [rows], perm=order)

        query = heads(family.query, [0, 2, 1, 3])
        key = heads(family.key, [0, 2, 3, 1])
        value = heads(family.value, [0, 2, 1, 3])
        scores = self._node("MatMul", [query, key])
        scale = self._constant("score_scale", np.float32(math.sqrt(size)))
        scores = self._node("Add", [self._node("Div", [scores, scale]), bias])
        weights = self._node("Softmax", [scores], axis=-1)
        mixed = self._node("Transpose", [self._node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
        mixed = self._node("Reshape", [mixed, join])
        return self._linear(prefix + family.attention_out, mixed, self._hidden, self._hidden)

    def _attention_bias(self) -> str:
        """f32[batch, 1 or heads, 1 or sequence, sequence] added to the scores: hides padding."""
        mask = self._node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        axes = self._constant("mask_axes", np.array([1, 2], np.int64))
        mask = self._node("Unsqueeze", [mask, axes])
        hidden = self._node("Sub", [self._constant("one", np.float32(1)), mask])
        lowest = self._constant("lowest", np.finfo(np.float32).min)
        bias = self._node("Mul", [hidden, lowest])
        if self._family.relative_positions:
            bias = self._node("Add", [self._relative_bias(), bias])
        return bias

    def _relative_bias(self) -> str:
        """f32[1, heads, sequence, sequence] of MPNet, from a table of buckets for all positions."""
        table = self._tensor("encoder.relative_attention_bias.weight", None, self._heads)
        positions = self._tensor("embeddings.position_embeddings.weight", None, None).shape[0]
        buckets = relative_buckets(positions, table.shape[0])
        name = self._constant("relative_buckets", buckets)
        chosen = self._first_positions(name, axes=[0, 1])
        weight = self._weight("encoder.relative_attention_bias.weight", None, self._heads)
        bias = self._node("Gather", [weight, chosen])
        bias = self._node("Transpose", [bias], perm=[2, 0, 1])
        return self._node("Unsqueeze", [bias, self._constant("axis0", np.array([0], np.int64))])

    def _activation(self, x: str) -> str:
        name = str(self._config.get(self._family.activation, "gelu"))
        half = self._constant("half", np.float32(0.5))
        one = self._constant("one", np.float32(1))
        if name == "gelu":
            root = self._constant("sqrt2", np.float32(math.sqrt(2)))
            inner = self._node("Erf", [self._node("Div", [x, root])])
        elif name in ("gelu_new", "gelu_pytorch_tanh"):
            cube = self._node("Mul", [self._node("Mul", [x, x]), x])
            cube = self._node("Mul", [cube, self._constant("gelu_cube", np.float32(0.044715))])
            scale = self._constant("gelu_scale", np.float32(math.sqrt(2 / math.pi)))
            inner = self._node("Tanh", [self._node("Mul", [self._node("Add", [x, cube]), scale])])
        elif name == "relu":
            return self._node("Relu", [x])
        else:
            raise UserError(
                f"{self._where}: activation {name!r} is not supported "
                "(supported: gelu, gelu_new, gelu_pytorch_tanh, relu)"
            )
        # The order in which runtimes look for it to fuse it: (x * (1 + inner)) * 0.5.
        return self._node("Mul", [self._node("Mul", [x, self._node("Add", [inner, one])]), half])

    def _linear(self, name: str, x: str, inputs: int, outputs: int) -> str:
        weight = self._tensor(name + ".weight", outputs, inputs)
        product = self._node("MatMul", [x, self._constant(name + ".weight_t", weight.T)])
        return self._node("Add", [self._weight(name + ".bias", outputs), product])

    def _norm(self, name: str, x: str) -> str:
        return self._node(
            "LayerNormalization",
            [
                x,
                self._weight(name + ".weight", self._hidden),
                self._weight(name + ".bias", self._hidden),
            ],
            axis=-1,
            epsilon=self._epsilon,
        )

    # --- the graph being written ---

    def _first_positions(self, table: str, axes: list[int]) -> str:
        """`table` cut to the length of the sequence along `axes`."""
        length = self._node(
            "Slice",
            [
                self._node("Shape", ["input_ids"]),
                self._constant("from1", np.array([1], np.int64)),
                self._constant("to2", np.array([2], np.int64)),
            ],
        )
        if len(axes) == 2:
            length = self._node("Concat", [length, length], axis=0)
        starts = self._constant(f"starts{len(axes)}", np.zeros(len(axes), np.int64))
        along = self._constant(f"axes{len(axes)}", np.array(axes, np.int64))
        return self._node("Slice", [table, starts, length, along])

    def _node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def _size(self, name: str) -> int:
        """A size that the configuration gives."""
        size = self._config.get(name)
        if not isinstance(size, int) or not 1 <= size <= _LARGEST_SIZE:
            raise UserError(
                f"{self._where}: {name} in config.json is {size!r}, expected 1 to {_LARGEST_SIZE:,}"
            )
        return size

    def _tensor(self, name: str, *shape: int | None) -> F32:
        """A weight that must have `shape`; None is any size."""
        if name not in self._weights:
            raise UserError(f"{self._where}: the weights lack tensor {name}")
        tensor = self._weights[name]
        fits = len(shape) == tensor.ndim and all(
            wanted in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise UserError(
                f"{self._where}: tensor {name} has the shape {list(tensor.shape)}, "
                f"expected [{wanted}] by config.json"
            )
        return tensor

    def _weight(self, name: str, *shape: int | None) -> str:
        return self._constant(name, self._tensor(name, *shape))

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        if name not in self._initializers:
            array = np.ascontiguousarray(value).reshape(np.shape(value))
            self._initializers[name] = numpy_helper.from_array(array, name)
        return name


def relative_buckets(positions: int, buckets: int, far: int = 128) -> npt.NDArray[np.int64]:
    """i64[positions, positions]: T5's bucket of (query row, key column), both directions.

    Half of the buckets are for keys after the query; of each half, half are exact distances and
    the rest grow logarithmically up to `far`.
    """
    distance = np.arange(positions)[None, :] - np.arange(positions)[:, None]
    half = buckets // 2
    exact = half // 2
    reach = np.abs(distance)
    # In float32, as the models were trained.
    ratio = np.log(np.maximum(reach, 1).astype(np.float32) / np.float32(exact))
    grown = exact + (ratio / np.float32(math.log(far / exact)) * (half - exact)).astype(np.int64)
    near = np.where(reach < exact, reach, np.minimum(grown, half - 1))
    # MPNet counts n = query - key and gives the upper half to n < 0, that is to keys after it.
    chosen: npt.NDArray[np.int64] = np.where(distance > 0, near + half, near).astype(np.int64)
    return chosen


def _value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
