"""What is read from a compiled program's text, on short texts as XLA prints them.

Covers experiments/accelerators/program.py, experiments/accelerators/kernels.py.
"""

import json

import pytest

from experiments.accelerators import kernels as counting
from experiments.accelerators.program import Array, arrays_of, parse


def program(entry, *computations):
    """The text of a program with these instructions in its entry computation."""
    heading = "HloModule jit_f, is_scheduled=true, entry_computation_layout={()->f32[]}\n\n"
    return heading + "\n\n".join(
        [*computations, f"ENTRY %main (x: f32[2]) -> f32[2] {{\n{entry}\n}}"]
    )


def kernels_of(entry, *computations):
    return counting.kernels(parse(program(entry, *computations)))


GPU = program(
    r"""
  %x = f32[500,12,12,32]{3,2,1,0} parameter(0), sharding={mesh['data'=1], [{}, {}]}, metadata={op_name="x"}
  %k = f32[5,5,32,64]{3,2,1,0} parameter(1)
  %wrapped_transpose = f32[64,5,5,32]{3,2,1,0} fusion(%k), kind=kInput, calls=%transposed, backend_config={"operation_queue_id":"0"}
  %conv.3 = (f32[500,8,8,64]{3,2,1,0}, u8[4096]{0}) custom-call(%x, %wrapped_transpose), window={size=5x5}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(f)/calls=%not_one"}, backend_config={"cudnn_conv_backend_config":{"activation_mode":"kNone"}}
  %get-tuple-element = f32[500,8,8,64]{3,2,1,0} get-tuple-element(%conv.3), index=0
  ROOT %scaled = f32[500,8,8,64]{3,2,1,0} fusion(%get-tuple-element), kind=kLoop, calls=%fused_multiply
""",
    """%transposed (p: f32[5,5,32,64]) -> f32[64,5,5,32] {
  %p = f32[5,5,32,64]{3,2,1,0} parameter(0)
  ROOT %t = f32[64,5,5,32]{3,2,1,0} transpose(%p), dimensions={3,0,1,2}
}""",
    """%fused_multiply (p.1: f32[500,8,8,64]) -> f32[500,8,8,64] {
  %p.1 = f32[500,8,8,64]{3,2,1,0} parameter(0)
  %c = f32[] constant(3)
  %b = f32[500,8,8,64]{3,2,1,0} broadcast(%c), dimensions={}
  ROOT %m = f32[500,8,8,64]{3,2,1,0} multiply(%p.1, %b)
}""",
)


def test_instructions_of_a_gpu_program():
    read = parse(GPU)
    entry = read[read.entry]
    convolution = entry.by_name["conv.3"]
    assert convolution.opcode == "custom-call"
    assert convolution.operands == ("x", "wrapped_transpose")
    assert convolution.arrays == (Array("f32", (500, 8, 8, 64)), Array("u8", (4096,)))
    assert convolution.called == {}  # a name in the metadata is no call
    assert convolution.target == "__cudnn$convForward"
    assert "cudnn_conv_backend_config" in convolution.backend_config
    assert entry.root.called == {"calls": ("fused_multiply",)}
    assert [user.name for user in entry.users["conv.3"]] == ["get-tuple-element"]


def test_kernels_of_a_gpu_program():
    copy, convolution, loop = counting.kernels(parse(GPU))
    assert [k.kind for k in (copy, convolution, loop)] == ["copy", "convForward", "fusion:loop"]
    x, kernel, y = 4 * 500 * 12 * 12 * 32, 4 * 25 * 32 * 64, 4 * 500 * 8 * 8 * 64
    assert (copy.read, copy.written) == (kernel, kernel)
    assert (convolution.read, convolution.written) == (x + kernel, y)  # less the workspace
    assert convolution.products == 2 * (y // 4) * 25 * 32
    assert convolution.precision == "tf32"
    assert (loop.read, loop.written, loop.operations) == (y, y, y // 4)
    assert counting.counted([copy, convolution, loop, loop])["fusion:loop"] == 2


@pytest.mark.parametrize(
    ("target", "operands", "result", "products"),
    [  # of a kernel (3, 3, 4 channels a group, 8) on (2, 6, 6) without padding
        ("Forward", ["2,6,6,{c}", "8,3,3,4"], "2,4,4,8", 2 * 2 * 16 * 8 * 9 * 4),
        ("BackwardInput", ["2,4,4,8", "8,3,3,4"], "2,6,6,{c}", 2 * 2 * 16 * 8 * 9 * 4),
        ("BackwardFilter", ["2,6,6,{c}", "2,4,4,8"], "8,3,3,4", 2 * 2 * 16 * 8 * 9 * 4),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_products_of_the_three_contractions(target, operands, result, products, groups):
    """All three have the products of the forward convolution."""
    a, b, c = (f"bf16[{shape.format(c=4 * groups)}]" for shape in (*operands, result))
    (kernel,) = kernels_of(f"""
  %a = {a}{{3,2,1,0}} parameter(0)
  %b = {b}{{3,2,1,0}} parameter(1)
  ROOT %c = {c}{{3,2,1,0}} custom-call(%a, %b), window={{size=3x3}}, dim_labels=b01f_o01i->b01f, feature_group_count={groups}, custom_call_target="__cudnn$conv{target}"
""")
    assert (kernel.products, kernel.precision) == (products, "bfloat16")


def test_depthwise_convolutions_have_no_products():
    (kernel,) = kernels_of("""
  %a = bf16[2,6,6,8]{3,2,1,0} parameter(0)
  %b = bf16[8,3,3,1]{3,2,1,0} parameter(1)
  ROOT %c = bf16[2,4,4,8]{3,2,1,0} custom-call(%a, %b), window={size=3x3}, dim_labels=b01f_o01i->b01f, feature_group_count=8, custom_call_target="__cudnn$convForward"
""")
    assert (kernel.products, kernel.operations) == (0, 2 * 2 * 16 * 8 * 9)


def fusion(body, parameters, result):
    """The kernel of a fusion of these parameters."""
    given = "\n".join(
        f"  %p{i} = {shape}{{0}} parameter({i})" for i, shape in enumerate(parameters)
    )
    names = ", ".join(f"%p{i}" for i in range(len(parameters)))
    (kernel,) = kernels_of(
        f"{given}\n  ROOT %f = {result}{{0}} fusion({names}), kind=kLoop, calls=%inner",
        f"%inner (p0: f32[2]) -> f32[2] {{\n{given}\n{body}\n}}",
    )
    return kernel


def test_a_fusion_reads_what_it_slices():
    kernel = fusion(
        """
  %s = f32[10]{0} slice(%p0), slice={[5:15]}
  ROOT %n = f32[10]{0} negate(%s)""",
        ["f32[100]"],
        "f32[10]",
    )
    assert (kernel.read, kernel.written) == (40, 40)


def test_slices_behind_other_operations_and_several_of_them():
    kernel = fusion(
        """
  %c = bf16[100]{0} convert(%p0)
  %a = bf16[30]{0} slice(%c), slice={[0:30]}
  %b = bf16[30]{0} slice(%c), slice={[50:80]}
  ROOT %n = bf16[30]{0} add(%a, %b)""",
        ["f32[100]"],
        "bf16[30]",
    )
    assert (kernel.read, kernel.written) == (4 * 60, 2 * 30)


def test_nine_windows_of_a_map_read_it_once():
    slices = "\n".join(
        f"  %s{i} = f32[90]{{0}} slice(%p0), slice={{[{i}:{i + 90}]}}" for i in range(3)
    )
    kernel = fusion(
        f"{slices}\n  %m = f32[90]{{0}} multiply(%s0, %s1)\n  ROOT %n = f32[90]{{0}} add(%m, %s2)",
        ["f32[100]"],
        "f32[90]",
    )
    assert kernel.read == 400


def test_an_update_in_place_reads_and_writes_the_update():
    kernel = fusion(
        "  ROOT %u = f32[100]{0} dynamic-update-slice(%p0, %p1, %p2)",
        ["f32[100]", "f32[10]", "s32[]"],
        "f32[100]",
    )
    assert (kernel.read, kernel.written) == (40 + 4, 40)


def test_an_unused_operand_is_not_read():
    kernel = fusion("  ROOT %n = f32[10]{0} negate(%p1)", ["f32[100]", "f32[10]"], "f32[10]")
    assert kernel.read == 40


LOOP = (
    "%body (s: f32[8]) -> f32[8] {\n  %s = f32[8]{0} parameter(0)\n"
    "  ROOT %n = f32[8]{0} negate(%s)\n}",
    "%condition (s.1: f32[8]) -> pred[] {\n  %s.1 = f32[8]{0} parameter(0)\n"
    "  ROOT %t = pred[] constant(true)\n}",
)


@pytest.mark.parametrize(
    ("config", "runs"),
    [(', backend_config={"known_trip_count":{"n":"5"},"dynamic":[]}', 5), ("", 1)],
)
def test_loops(config, runs):
    (kernel,) = kernels_of(
        f"""
  %x = f32[8]{{0}} parameter(0)
  ROOT %w = f32[8]{{0}} while(%x), condition=%condition, body=%body{config}""",
        *LOOP,
    )
    assert (kernel.kind, kernel.runs) == ("negate", runs)


def test_the_costliest_branch_counts():
    branches = [
        f"%b{n} (q{n}: f32[{n}]) -> f32[] {{\n  %q{n} = f32[{n}]{{0}} parameter(0)\n"
        f"  ROOT %r{n} = f32[{n}]{{0}} negate(%q{n})\n}}"
        for n in (8, 80)
    ]
    (kernel,) = kernels_of(
        """
  %i = s32[] parameter(0)
  %x = f32[8]{0} parameter(1)
  %y = f32[80]{0} parameter(2)
  ROOT %c = f32[] conditional(%i, %x, %y), branch_computations={%b8, %b80}""",
        *branches,
    )
    assert kernel.moved == 2 * 4 * 80


def test_collectives():
    """One that XLA has fused and started early, and one of several arrays."""
    kernels = kernels_of(
        """
  %x = f32[100]{0} parameter(0)
  %y = f32[7]{0} parameter(1)
  %fusion-start = ((f32[100]{0}), f32[100]{0}) fusion-start(%x), kind=kCustom, calls=%fused_all-reduce
  %fusion-done = f32[100]{0} fusion-done(%fusion-start)
  ROOT %all-reduce.9 = (f32[100]{0}, /*index=1*/f32[7]{0}) all-reduce(%fusion-done, %y), channel_id=1, replica_groups=mesh['data'=8] {data}, to_apply=%sum""",
        """%fused_all-reduce (p: f32[100]) -> f32[100] {
  %p = f32[100]{0} parameter(0)
  ROOT %a = f32[100]{0} all-reduce(%p), to_apply=%sum
}""",
    )
    assert [k.kind for k in kernels] == ["all-reduce", "all-reduce"]
    assert [k.written for k in kernels] == [400, 428]


def test_memory_on_the_chip_is_not_counted():
    """A copy to the chip of a TPU, and a Pallas kernel that reads it there."""
    config = {"custom_call_config": {"body": "TUzv", "cost_estimate": {"bytes_accessed": "1000"}}}
    start, pallas = kernels_of(f"""
  %x = f32[1024,1024]{{1,0:T(8,128)}} parameter(0)
  %copy-start = (f32[1024,1024]{{1,0:T(8,128)S(1)}}, f32[1024,1024]{{1,0:T(8,128)}}, u32[]{{:S(2)}}) copy-start(%x)
  %copy-done = f32[1024,1024]{{1,0:T(8,128)S(1)}} copy-done(%copy-start)
  ROOT %p = f32[1024,1024]{{1,0:T(8,128)}} custom-call(%copy-done), custom_call_target="tpu_custom_call", backend_config={json.dumps(config)}
""")
    assert (start.kind, start.read, start.written) == ("copy", 2**22, 0)
    assert (pallas.kind, pallas.read, pallas.written) == ("pallas", 0, 2**22)
    assert pallas.declared == 1000


def test_of_a_slice_to_the_chip_the_slice_is_read():
    (start,) = kernels_of("""
  %x = bf16[500,12,32]{2,1,0} parameter(0)
  %slice-start = ((bf16[500,12,32]{2,1,0}), bf16[500,3,32]{2,1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:500], [3:6], [0:32]}
  ROOT %slice-done = bf16[500,3,32]{2,1,0:T(8,128)S(1)} slice-done(%slice-start)
""")
    assert (start.kind, start.read, start.written) == ("slice", 2 * 500 * 3 * 32, 0)


def test_a_triton_kernel_has_bytes_in_its_configuration():
    (kernel,) = kernels_of(r"""
  %x = bf16[64,64]{1,0} parameter(0)
  ROOT %p = bf16[64,64]{1,0} custom-call(%x), custom_call_target="__gpu$xla.gpu.triton", backend_config={grid_x = 64 : i32, ir = "ML\EFR\0D)calls=%none(\00\22}"}
""")
    assert (kernel.kind, kernel.moved) == ("pallas", 2 * 64 * 64 * 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f32[]", [Array("f32", ())]),
        ("bf16[3,4]{1,0:T(8,128)(2,1)S(1)}", [Array("bf16", (3, 4), 1)]),
        (
            "(s32[], (pred[2]{0}, f8e4m3fn[5]{0}))",
            [("s32", (), 0), ("pred", (2,), 0), ("f8e4m3fn", (5,), 0)],
        ),
        ("token[]", [Array("token", ())]),
    ],
)
def test_types(text, expected):
    assert list(arrays_of(text)) == expected


@pytest.mark.parametrize(
    ("array", "nbytes"),
    [
        (Array("bf16", (3, 5)), 30),
        (Array("pred", (3,)), 3),
        (Array("s4", (3,)), 2),
        (Array("f8e4m3fn", (3,)), 3),
        (Array("c64", (2,)), 16),
        (Array("token", ()), 0),
    ],
)
def test_bytes(array, nbytes):
    assert array.nbytes == nbytes


def test_a_text_without_an_entry():
    with pytest.raises(ValueError, match="ENTRY"):
        parse("HloModule jit_f\n")
