"""The suite `ops` on tiny cases: its rows, and that wrong results are named and not timed."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import checks, ops, peers, report, torch_peer
from experiments.benchmark import machine as host
from experiments.benchmark.cases import CASES, CONVOLUTIONS, POOLS, matching
from experiments.benchmark.timing import Program, Timing, interleaved

TINY = "x=(2,7,6,4) kernel=(3,3,4,6) padding=SAME"
INSTALLED = ("autodiff", "torch") if importlib.util.find_spec("torch") else ("autodiff",)


def run(tmp_path, *shapes, **options):
    options = {"repeats": 1, "output_dir": tmp_path, "malloc_tuning": False} | options
    return benchmark.main(benchmark.Config(shape=shapes, **options))


def test_record_has_what_it_promises(tmp_path, capsys):
    contractions = ("DX+DW",)
    record = run(tmp_path, TINY, contractions=contractions)
    saved = json.loads((tmp_path / "benchmark.json").read_text())
    assert saved == json.loads(json.dumps(record, default=str))
    assert {"jax", "jaxlib", "torch", "cores", "gemm", "bandwidth"} <= record["machine"].keys()
    assert record["config"]["dtype"] == "float32"
    found = [(row["mode"], row["contraction"]) for row in record["ops"]]
    assert found == [
        (mode, contraction) for mode in ("entry", "scan") for contraction in contractions
    ]
    for row in record["ops"]:
        assert row["errors"] == {}
        assert set(row["seconds"]) == {"jaxconv", *INSTALLED}
        assert set(row["gemm"]) == {"before", "after"}
        for timing in row["seconds"].values():
            assert 0 < timing["lower"] <= timing["median"] <= timing["upper"]
            assert timing["runs"] >= 1
    assert (tmp_path / "benchmark.png").stat().st_size > 1_000
    captured = capsys.readouterr()
    assert "geometric mean" in captured.out
    assert len(captured.err.splitlines()) == 2  # a line a row, where there is no terminal


def test_run_that_is_stopped_has_its_rows(tmp_path, monkeypatch):
    measured = ops._measured

    def stopped_at_the_second(case, contraction, *options):
        if contraction == "DX":
            raise KeyboardInterrupt
        return measured(case, contraction, *options)

    monkeypatch.setattr(ops, "_measured", stopped_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, TINY, contractions=("F", "DX"), modes=("entry",), peers=())
    saved = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["contraction"] for row in saved["ops"]] == ["F"]
    assert [file.name for file in tmp_path.iterdir()] == ["benchmark.json"]


def test_means_are_geometric():
    def row(case, ours, theirs):
        seconds = {"jaxconv": {"median": ours}, "torch": {"median": theirs}}
        return {
            "kind": "conv",
            "mode": "entry",
            "contraction": "F",
            "case": case,
            "seconds": seconds,
        }

    (mean,) = report.summary([row("a", 1.0, 8.0), row("b", 4.0, 2.0)], ["torch", "autodiff"])
    assert mean["mean"] == pytest.approx(2.0)
    assert (mean["least"], mean["least_case"], mean["cases"]) == (0.5, "b", 2)


# One of each kind: ranks, paddings, strides, dilations, groups, pools.
SOME = ["E", "T", "wavenet-16", "resnext-28", "m32", "up"]
OTHERS = ["A", "P", "G", "L", "V", "medical-down", "deeplab-28", "m2", "a2"]
DIVERSE = [
    *matching(SOME),
    *(pytest.param(case, marks=pytest.mark.exhaustive) for case in matching(OTHERS)),
]


@pytest.mark.parametrize("case", DIVERSE, ids=lambda case: case.name)
def test_peers_agree(case):
    """On shrunk cases, shapes, layouts, paddings and groups are right."""
    small, contraction = case.shrunk(), peers.contractions_of(case)[-1]  # everything together
    given = peers.operands(small)
    assert checks.differs_from_definition(small, contraction) is None
    ours = peers.jax_programs("jaxconv", small, given, "float32")(contraction, "entry")
    expected = ours.arrays(ours.run())
    for peer in INSTALLED:
        if peer == "torch":
            program = torch_peer.torch_programs(small, given, "float32")(contraction, "entry")
        else:
            program = peers.jax_programs(peer, small, given, "float32")(contraction, "scan")
        actual, terms = program.arrays(program.run()), checks.terms(small, contraction)
        assert checks.mismatch(actual, expected, terms, "float32") is None, peer


@pytest.mark.parametrize(
    "dtype",
    ["bfloat16", *(pytest.param(d, marks=pytest.mark.exhaustive) for d in ("float64", "float16"))],
)
def test_other_dtypes(dtype, tmp_path):
    record = run(tmp_path, TINY, dtype=dtype, modes=("entry",), contractions=("DX+DW",))
    assert [row["errors"] for row in record["ops"]] == [{}]


def test_algorithm_can_be_forced(tmp_path):
    options = {
        "impl": "strips",
        "modes": ("entry",),
        "peers": (),
        "contractions": ("F", "DX", "DW"),
    }
    forward, input_vjp, kernel_vjp = run(tmp_path, "x=(2,8,8,1) kernel=(3,3,1,4)", **options)["ops"]
    assert forward["errors"] == {"jaxconv": "strips does not apply"}
    assert not forward["seconds"]
    assert input_vjp["seconds"].keys() == kernel_vjp["seconds"].keys() == {"jaxconv"}


def test_loop_computes_in_every_iteration():
    """The compiler does not move the computation out of the loop."""
    case = CONVOLUTIONS[0].shrunk()
    x, k, _ = map(jnp.asarray, peers.operands(case))
    looped = peers.in_loop(lambda x, k: (peers.lax_conv(case, x, k),))
    text = jax.jit(looped).lower(x, k).compile().as_text()
    before, entry = text.split("\nENTRY ")
    assert " convolution(" in before
    assert " convolution(" not in entry
    np.testing.assert_allclose(looped(x, k)[0], peers.lax_conv(case, x, k), rtol=1e-5, atol=1e-5)


# ---- a wrong peer ----------------------------------------------------------------------------


WRONG = {
    "another kernel": lambda y: y + 0.1 * jnp.roll(y, 1, axis=0),
    "a border left out": lambda y: y.at[:, 0].set(0),
    "not a number": lambda y: y * jnp.nan,
    "a pixel less": lambda y: y[:, 1:],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_peer_is_reported_and_not_timed(wrong, monkeypatch, tmp_path, capsys):
    right = peers.autodiff

    def autodiff(case, slots):
        fill = right(case, slots)
        return lambda x, k, y: tuple(map(WRONG[wrong], fill(x, k, y)))

    monkeypatch.setattr(peers, "autodiff", autodiff)
    options = {"peers": ("autodiff",), "contractions": ("F",), "modes": ("entry",)}
    (row,) = run(tmp_path, TINY, **options)["ops"]
    assert row["errors"]["autodiff"].startswith("wrong")
    assert set(row["seconds"]) == {"jaxconv"}
    out = capsys.readouterr().out
    assert "error" in out
    assert f"{TINY} F entry: autodiff: wrong" in out


def test_ours_is_checked_against_the_definition(monkeypatch, tmp_path):
    monkeypatch.setattr(peers.jaxconv, "conv", lambda x, k, **_: x[..., :1] * k.sum())
    (row,) = run(tmp_path, TINY, contractions=("F",), modes=("entry",))["ops"]
    assert "wrong" in row["errors"]["jaxconv"]
    assert row["seconds"] == {}


# ---- timing ----------------------------------------------------------------------------------


def test_runs_are_interleaved_and_slow_ones_fewer(monkeypatch):
    monkeypatch.setattr("experiments.benchmark.timing.LEAST_RUNS", 3)
    order, clock = [], [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def program(name, seconds, iterations=1):
        def run():
            order.append(name)
            clock[0] += seconds

        return Program(run, list, iterations)

    programs = {"a": program("a", 0.2), "slow": program("slow", 4.0, 2), "b": program("b", 0.4)}
    timings = interleaved(programs, repeats=5)
    rounds = order[3:6], order[6:9]
    assert [sorted(of_round) for of_round in rounds] == [["a", "b", "slow"]] * 2
    assert rounds[0] != rounds[1]  # none always follows the same one
    assert timings["a"] == Timing(*[pytest.approx(0.2)] * 3, runs=5)
    assert timings["slow"] == Timing(*[pytest.approx(2.0)] * 3, runs=3)


def test_row_is_taken_again_after_a_slow_spell():
    class SlowsDown:
        def __init__(self, *rates):
            self.rates = iter(rates)

        def gemm_rate(self):
            return next(self.rates)

    programs = {"a": Program(lambda: None, list)}
    steady = ops.timed(programs, 3, SlowsDown(100.0, 90.0))
    assert (steady["repeated"], steady["gemm"]) == (False, {"before": 100.0, "after": 90.0})
    slowed = ops.timed(programs, 3, SlowsDown(100.0, 50.0, 51.0, 99.0))
    assert (slowed["repeated"], slowed["gemm"]) == (True, {"before": 51.0, "after": 99.0})


def test_machine_has_rates(machine):
    assert machine.gemm_rate() > 0
    assert machine.bandwidth() > 0


# ---- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--suite opps", "--suite: expected one of ops"),
        ("--cases ZZ", "--cases 'ZZ' matches no case."),
        ("--repeats 0", "--repeats must be at least 1, got 0."),
        ("--impl strips --suite compile", "--impl strips is for --suite ops."),
        ("--impl magic", "--impl must be one of textbook, lax, direct"),
        ("--modes loop", "--modes"),
        ("--shape nonsense", "--shape 'nonsense': cannot read 'nonsense'."),
        ("--output-dir a_file/results", "cannot write to --output-dir a_file/results"),
    ],
)
def test_mistake(options, message, tmp_path, monkeypatch, capfd):
    from experiments.command_line import run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    with pytest.raises(SystemExit) as end:
        run(benchmark.main, benchmark.Config, [*options.split(), "--no-malloc-tuning"])
    assert end.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("experiments.benchmark: error: ")
    assert message in line


def test_torch_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "torch_version", lambda: None)
    with pytest.raises(ValueError, match="PyTorch is not installed"):
        run(tmp_path, TINY, peers=("torch",))
    assert set(run(tmp_path, TINY, contractions=("F",))["ops"][0]["seconds"]) == {
        "jaxconv",
        "autodiff",
    }


def test_names_and_shapes():
    def chosen(**options):
        return [case.name for case in benchmark._chosen(benchmark.Config(**options))]

    assert len(chosen()) == len(CASES)
    assert chosen(shape=(TINY,)) == [TINY]
    assert chosen(shape=(TINY,), cases=("A",)) == [TINY, "A"]
    assert [case.name for case in POOLS] == chosen(cases=("m[0-9]*", "a[0-9]*", "up"))
