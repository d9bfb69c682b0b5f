"""`optax.losses` and the layers of Flax."""

import jax
import jax.numpy as jnp
import numpy as np

from .entries import Library

LOSSES = Library("optax.losses")
try:
    import optax
    from flax import nnx
except ModuleNotFoundError:
    optax = nnx = None
_o = optax.losses if optax else None
LABELS = np.array([0, 3, 1])
for name in ("squared_error", "l2_loss", "huber_loss", "log_cosh"):
    LOSSES.each(
        name,
        "normal normal",
        rows=((0, 0), (1, 0), (0, 1), (-2, 3), (1e-8, 0), (50, -50), (1e4, 0)),
    )
for name in ("hinge_loss", "perceptron_loss"):
    LOSSES.each(
        name,
        "normal",
        rows=(0.5, -1.0, 2.0, 1.0, 0.0),
        call=lambda f: lambda x: f(x, jnp.ones_like(x)),
    )
LOSSES.each(
    "sigmoid_binary_cross_entropy sigmoid_focal_loss",
    "normal unit",
    rows=((0, 0.5), (1, 1e-3), (-20, 0.5), (50, 0.25)),
)
_pair = "normal:3,4 normal:3,4"
for name in ("cosine_distance", "cosine_similarity"):
    LOSSES.add(name, _pair, forms="huge tiny mixed")
for name in ("softmax_cross_entropy", "safe_softmax_cross_entropy"):
    LOSSES.add(name, "normal:3,4 shares:3,4", forms="zeros integers huge")
LOSSES.add("poly_loss_cross_entropy", "normal:3,4 shares:3,4", forms="zeros integers")
LOSSES.add(
    "softmax_cross_entropy_with_integer_labels",
    "normal:3,4",
    lambda x: _o.softmax_cross_entropy_with_integer_labels(x, LABELS),
    forms="zeros integers huge",
)
for name in ("multiclass_hinge_loss", "multiclass_perceptron_loss", "multiclass_sparsemax_loss"):
    LOSSES.add(
        name,
        "distinct:3,4",
        lambda x, name=name: getattr(_o, name)(x, LABELS),
        forms="zeros integers",
    )
LOSSES.each(
    "sparsemax_loss",
    "normal",
    rows=(0.5, -1.0, 2.0, 1.0, 0.0),
    call=lambda f: lambda x: f(x, jnp.ones_like(x, int)),
)
LOSSES.add("kl_divergence", "normal:3,4 shares:3,4", forms="zeros integers")
LOSSES.add("kl_divergence_with_log_targets", _pair, forms="zeros integers")
LOSSES.add("convex_kl_divergence", "normal:3,4 shares:3,4", forms="zeros")
LOSSES.add("generalized_kl_divergence", "normal:3,4 positive:3,4", forms="zeros")
LOSSES.add("ranking_softmax_loss", "normal:3,4 shares:3,4", forms="zeros")
LOSSES.add("smooth_labels", "normal:3,4", lambda x: _o.smooth_labels(x, 0.1), forms="zeros mixed")
for name in ("dice_loss", "binary_dice_loss", "multiclass_generalized_dice_loss"):
    LOSSES.add(name, "normal:2,5,3 shares:2,5,3", forms="zeros")
LOSSES.add("ntxent", "normal:4,3", lambda x: _o.ntxent(x, np.array([0, 1, 0, 1])), forms="huge")
LOSSES.add("triplet_margin_loss", "normal:3,4 normal:3,4 normal:3,4", forms="")
LOSSES.add(
    "make_fenchel_young_loss",
    "normal:3,4 shares:3,4",
    lambda x, y: _o.make_fenchel_young_loss(jax.nn.logsumexp)(x, y),
    forms="zeros",
)
_labels, _paddings = np.array([[1, 2, 0]]), np.array([[0.0, 0.0, 1.0]])
LOSSES.add(
    "ctc_loss",
    "normal:1,4,3",
    lambda x: _o.ctc_loss(x, jnp.zeros((1, 4), x.dtype), _labels, _paddings.astype(x.dtype)),
    forms="zeros",
)
LOSSES.add(
    "ctc_loss_with_forward_probs",
    "normal:1,4,3",
    lambda x: _o.ctc_loss_with_forward_probs(
        x, jnp.zeros((1, 4), x.dtype), _labels, _paddings.astype(x.dtype)
    )[0],
    forms="zeros",
)

LAYERS = Library("flax.nnx")


def _options(dtype):
    return {"rngs": nnx.Rngs(0), "param_dtype": dtype, "dtype": dtype}


def layer(name, make, args, forms="zeros", order=2, apply=lambda module, *x: module(*x)):
    """Add a layer as a function of its input and of its parameters.

    `make` takes the keyword arguments of a layer: its random keys and its dtypes.
    """
    if nnx is None or not hasattr(nnx, name.partition(", ")[0]):
        return

    def call(*x, make=make):
        x, parameters = x[:-1], x[-1]
        split = nnx.split(make(_options(x[0].dtype)), nnx.Param, ...)
        graph, state, rest = split
        leaves, treedef = jax.tree.flatten(state)
        sizes = np.cumsum([leaf.size for leaf in leaves])
        filled = [
            (leaf + 0.3 * parameters[end - leaf.size : end].reshape(leaf.shape)).astype(leaf.dtype)
            for leaf, end in zip(leaves, sizes, strict=True)
        ]
        module = nnx.merge(graph, jax.tree.unflatten(treedef, filled), rest)
        return apply(module, *x)

    module = nnx.eval_shape(lambda: make(_options(jnp.float32)))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
    LAYERS.add(name, f"{args} normal:{max(count, 1)}", call, forms=forms, order=order)


if nnx is not None:
    layer("Linear", lambda k: nnx.Linear(3, 2, **k), "normal:2,3")
    layer("LinearGeneral", lambda k: nnx.LinearGeneral((3,), (2, 2), **k), "normal:2,3")
    layer("Einsum", lambda k: nnx.Einsum("nd,dh->nh", (3, 2), (2,), **k), "normal:2,3")
    layer("Conv", lambda k: nnx.Conv(2, 2, (2, 2), **k), "normal:1,3,3,2")
    layer("ConvTranspose", lambda k: nnx.ConvTranspose(2, 2, (2, 2), 2, **k), "normal:1,2,2,2")
    layer(
        "Embed",
        lambda k: nnx.Embed(4, 3, **k),
        "normal:2",
        apply=lambda m, x: m(np.array([0, 2, 2])) * x[0],
    )
    layer("BatchNorm", lambda k: nnx.BatchNorm(3, **k), "normal:4,3", forms="integers huge")
    layer(
        "BatchNorm, running",
        lambda k: nnx.BatchNorm(3, use_running_average=True, **k),
        "normal:4,3",
    )
    layer("LayerNorm", lambda k: nnx.LayerNorm(4, **k), "normal:2,4", forms="integers huge")
    layer("GroupNorm", lambda k: nnx.GroupNorm(4, 2, **k), "normal:2,3,4", forms="integers huge")
    layer("InstanceNorm", lambda k: nnx.InstanceNorm(2, **k), "normal:2,4,2", forms="integers")
    layer("RMSNorm", lambda k: nnx.RMSNorm(4, **k), "normal:2,4", forms="integers huge")
    layer(
        "WeightNorm", lambda k: nnx.WeightNorm(nnx.Linear(3, 2, **k), rngs=k["rngs"]), "normal:2,3"
    )
    layer(
        "SpectralNorm",
        lambda k: nnx.SpectralNorm(nnx.Linear(3, 2, **k), **k),
        "normal:2,3",
        forms="",
        order=1,
    )
    layer("PReLU", lambda k: nnx.PReLU(param_dtype=k["dtype"]), "normal:2,3")
    layer("LoRA", lambda k: nnx.LoRA(3, 2, 2, **k), "normal:2,3")
    layer("LoRALinear", lambda k: nnx.LoRALinear(3, 2, lora_rank=2, **k), "normal:2,3")
    layer(
        "MultiHeadAttention",
        lambda k: nnx.MultiHeadAttention(2, 4, decode=False, **k),
        "normal:1,3,4",
        forms="",
    )
    layer(
        "RoPE",
        lambda k: nnx.RoPE(embedding_size=4, max_seq_len=8),
        "normal:1,3,2,4",
        forms="zeros mixed",
    )
    layer("Dropout", lambda k: nnx.Dropout(0.5, deterministic=True), "normal:2,3")
    layer("Sequential", lambda k: nnx.Sequential(nnx.Linear(3, 2, **k), jnp.tanh), "normal:2,3")
    for name in ("LSTMCell", "OptimizedLSTMCell"):
        layer(
            name,
            lambda k, name=name: getattr(nnx, name)(2, 2, **k),
            "normal:1,2 normal:1,2 normal:1,2",
            apply=lambda m, x, c, h: m((c, h), x)[0],
            forms="",
        )
    for name in ("GRUCell", "SimpleCell"):
        layer(
            name,
            lambda k, name=name: getattr(nnx, name)(2, 2, **k),
            "normal:1,2 normal:1,2",
            apply=lambda m, x, h: m(h, x)[0],
            forms="zeros",
        )
    layer("RNN", lambda k: nnx.RNN(nnx.SimpleCell(2, 2, **k)), "normal:1,3,2", forms="zeros")
    layer(
        "Bidirectional",
        lambda k: nnx.Bidirectional(
            nnx.RNN(nnx.SimpleCell(2, 2, **k)), nnx.RNN(nnx.SimpleCell(2, 2, **k))
        ),
        "normal:1,2,2",
        forms="",
    )
    LAYERS.add(
        "avg_pool", "normal:1,4,4,2", lambda x: nnx.avg_pool(x, (2, 2), (2, 2)), forms="zeros mixed"
    )
    for name in ("max_pool", "min_pool"):
        LAYERS.add(
            name,
            "distinct:1,4,4,2",
            lambda x, name=name: getattr(nnx, name)(x, (2, 2), (2, 2)),
            forms="zeros integers",
        )
    LAYERS.add(
        "dot_product_attention",
        "normal:1,3,2,4 normal:1,3,2,4 normal:1,3,2,4",
        lambda q, k, v: nnx.dot_product_attention(q, k, v),
        forms="zeros",
    )
    LAYERS.add(
        "dot_product_attention_with_rope",
        "normal:1,3,2,4 normal:1,3,2,4 normal:1,3,2,4",
        lambda q, k, v: nnx.dot_product_attention_with_rope(
            q, k, v, rope=nnx.RoPE(embedding_size=4, max_seq_len=8)
        ),
        forms="zeros",
    )
