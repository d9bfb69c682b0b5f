"""Public functions that are in no table of the catalogue, and the reasons.

Together with the entries they account for every public function of the modules. `unaccounted()`
names the others, such as functions that are new in a version of a library.
"""

import functools
import importlib
import inspect

import jax.scipy.stats

from .measure import entries

# The reasons, and the functions that they apply to.
INTEGERS = "its result holds no floating-point numbers, or its derivative is zero everywhere"
CONSTANTS = "it takes no floating-point arrays, only shapes, counts or integers"
PLUMBING = "it is no function of arrays: it reads or writes files, types, settings or programs"
SIZES = "the size of its result depends on its values, which JAX can't trace"
NO_RULE = "JAX has no derivative of it"
TRANSFORMATION = "it transforms functions or modules, and takes no arrays itself"
DEVICES = "it needs several devices, or a quantised format that the processor lacks"

EXCLUDED: dict[str, dict[str, str]] = {
    "jax.numpy": {
        INTEGERS: """all allclose any argmax argmin argpartition argsort argwhere array_equal
            array_equiv bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not
            bitwise_or bitwise_right_shift bitwise_xor count_nonzero digitize equal flatnonzero
            floor_divide gcd greater greater_equal invert isclose iscomplex iscomplexobj isfinite
            isin isinf isnan isneginf isposinf isreal isrealobj isscalar lcm left_shift less
            less_equal lexsort logical_and logical_not logical_or logical_xor nanargmax nanargmin
            nonzero not_equal packbits right_shift searchsorted signbit spacing unpackbits""",
        CONSTANTS: """arange bartlett blackman diag_indices diag_indices_from empty empty_like eye
            hamming hanning identity indices ix_ mask_indices ones ones_like ravel_multi_index tri
            tril_indices tril_indices_from triu_indices triu_indices_from unravel_index zeros
            zeros_like""",
        PLUMBING: """array_repr array_str broadcast_shapes can_cast einsum_path from_dlpack
            frombuffer fromfile fromiter fromstring get_printoptions isdtype issubdtype iterable
            load ndim printoptions promote_types result_type save savez set_printoptions shape
            size""",
        SIZES: """intersect1d setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts
            unique_inverse unique_values""",
    },
    "jax.lax": {
        INTEGERS: """argmax argmin bitcast_convert_type bitwise_and bitwise_not bitwise_or
            bitwise_xor clz eq ge gt is_finite le lt mulhi ne population_count reduce_and reduce_or
            reduce_xor shift_left shift_right_arithmetic shift_right_logical""",
        CONSTANTS: """axis_index axis_size broadcasted_iota empty iota rng_bit_generator
            rng_uniform""",
        PLUMBING: """DotDimensionNumbers ConvGeneralDilatedDimensionNumbers PrecisionLike after_all
            broadcast_shapes conv_dimension_numbers conv_general_permutations
            conv_general_shape_tuple conv_shape_tuple conv_transpose_shape_tuple create_token
            dce_sink dtype padtype_to_pads reduce_window_shape_tuple shape_as_value stage""",
        NO_RULE: """composite igamma_grad_a pmax pmin random_gamma_grad scatter_apply while_loop
            zeta""",
        DEVICES: """pbroadcast pcast precv psend psum_scatter_start ragged_all_to_all scaled_dot
            with_sharding_constraint""",
    },
    "jax.lax.linalg": {
        INTEGERS: "lu_pivots_to_permutation",
        NO_RULE: """cholesky_update hessenberg householder_product ormqr qdwh schur
            symmetric_product tridiagonal""",
    },
    "jax.nn": {
        INTEGERS: "one_hot",
        PLUMBING: "get_scaled_dot_general_config",
        DEVICES: "scaled_dot_general scaled_matmul",
    },
    "jax.scipy.special": {INTEGERS: "gammasgn", CONSTANTS: "bernoulli"},
    "jax.scipy.linalg": {
        CONSTANTS: "dft hadamard helmert hilbert invhilbert invpascal pascal",
        NO_RULE: "funm hessenberg qr_multiply rsf2csf schur solve_sylvester sqrtm",
    },
    "jax.scipy.stats": {INTEGERS: "mode rankdata"},
    "jax.scipy.stats.bernoulli": {INTEGERS: "cdf ppf"},
    "jax.numpy.linalg": {INTEGERS: "matrix_rank", NO_RULE: "eig"},
    "jax.numpy.fft": {CONSTANTS: "fftfreq rfftfreq"},
    "flax.nnx": {
        CONSTANTS: "combine_masks make_attention_mask make_causal_mask one_hot",
        TRANSFORMATION: """abstract_with_sharding as_abstract as_pure cached_partial call capture
            check_pytree checkify clone cond current_update_context custom_vjp data dataclass
            display eval_shape filter_state find_duplicates flatten fori_loop fork_rngs
            from_flat_state from_tree get_abstract_model get_named_sharding get_partition_spec grad
            graphdef has_data is_data iter_children iter_graph iter_module_children iter_modules jit
            jit_partial jvp logical_axis_rules make_jaxpr map map_state pool merge merge_context
            merge_state pmap pop prefix pure recursive_map register_data_type
            register_variable_name remat replace_by_pure_dict reseed restore_int_paths restore_rngs
            scan set_metadata shard_map split split_context split_rngs split_state state static
            switch tabulate to_flat_state to_pure_dict to_tree transform_metadata unflatten unpack
            update update_context using_eager_sharding value_and_grad var_defaults
            variable_name_from_type variable_type_from_name variables vars_as view view_info vjp
            vmap while_loop with_attributes with_metadata with_partitioning with_rngs with_vars
            Data Initializer PureState Static Dict List Module RNNCellBase""",
    },
}
# Other names of functions in the catalogue.
ALIASES: dict[str, dict[str, str]] = {
    "jax.numpy": {
        **{name: f"arc{name[1:]}" for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh")},
        "atan2": "arctan2",
    },
    "flax.nnx": {},
}
MODULES = (
    *("jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.lax", "jax.lax.linalg", "jax.nn"),
    *(f"jax.scipy.{name}" for name in ("special", "signal", "linalg", "fft", "integrate")),
    *("jax.scipy.ndimage", "jax.scipy.stats", "jax.image", "jax.ops", "optax.losses", "flax.nnx"),
    *(m.__name__ for _, m in inspect.getmembers(jax.scipy.stats, inspect.ismodule)),
)


@functools.cache
def public(module: str) -> dict[str, object]:
    """The public functions of a module; for Flax, the layers as well."""
    members = vars(importlib.import_module(module))
    found = {name: value for name, value in members.items() if not name.startswith("_")}
    if module == "flax.nnx":
        from flax import nnx

        return {
            name: value
            for name, value in found.items()
            if (issubclass(value, nnx.Module) if inspect.isclass(value) else callable(value))
        }
    return {n: v for n, v in found.items() if callable(v) and not inspect.isclass(v)}


def excluded(module: str) -> set[str]:
    """The names of a module that are in no table."""
    return {name for names in EXCLUDED.get(module, {}).values() for name in names.split()}


def unaccounted() -> list[str]:
    """The public functions that are neither in the catalogue nor excluded."""
    catalogue = {(entry.library, entry.name) for entry in entries()}
    objects = {id(public(module).get(name)) for module, name in catalogue if module in MODULES}
    return [
        f"{module}.{name}"
        for module in MODULES
        for name, value in public(module).items()
        if (module, name) not in catalogue
        and name not in excluded(module)
        and id(value) not in objects  # another name of the same function
        and (module, ALIASES.get(module, {}).get(name)) not in catalogue
    ]
