"""Each constant of `jaxconv.verify` is varied, and its influence on the verdicts is counted."""

from experiments.verifier import peers, sensitivity
from experiments.verifier.__main__ import Config, main
from experiments.verifier.cases import wrong_vjps
from experiments.verifier.peers import PASSES, WRONG, Answer, ask
from jaxconv.verify import _constants


def test_every_constant_is_varied_in_both_directions(monkeypatch, tmp_path, capsys):
    before, seen = sensitivity.constants(), []

    def look(verifier, case, seed, modes):
        now = {name: getattr(_constants, name) for name in before}
        seen.append({name: value for name, value in now.items() if value != before[name]})
        return Answer(WRONG if now["MARGIN"] < 8 else PASSES)

    monkeypatch.setattr(sensitivity, "ask", look)
    config = Config(sensitivity=True, seeds=1, cases=("a number",), output_dir=tmp_path)
    found = main(config)["constants"]
    assert sensitivity.constants() == before
    assert set(found) == set(before)
    assert seen[0] == {}
    for name, value in before.items():
        larger, smaller = sensitivity.variations(name).values()
        # A large function's steps are as few as can be.
        assert smaller < value < larger or name == "STEP_COUNT_OF_LARGE"
        assert type(larger) is type(smaller) is type(value)
        for new in {larger, smaller} - {value}:
            assert {name: new} in seen
    assert max(map(len, seen)) == 1
    assert found["MARGIN"]["varied"]["÷ 4"] == {"value": 2.0} | _counts(**{"false alarms": 1})
    assert found["MARGIN"]["varied"]["× 4"] == {"value": 32.0} | _counts()
    assert (tmp_path / "verifier_sensitivity.json").exists()
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in before)


def _counts(**counts):
    return dict.fromkeys(sensitivity.COUNTED, 0) | counts


def test_a_constant_that_is_varied_is_the_one_that_is_read():
    halved = {"a case": lambda true, args, y_bar: (true[0] / 2,)}
    (case,) = wrong_vjps("a family", lambda x: x**3, ("vector",), halved)
    with sensitivity.recorded() as read:
        assert ask(peers.ours, case, 0, "quick").verdict == WRONG
    assert {"MARGIN", "ERRORS", "STEP_COUNT"} <= read
    assert "LINEAR_NUMBERS" not in read
    with sensitivity.varied("MARGIN", 1e30):
        assert ask(peers.ours, case, 0, "quick").verdict == PASSES
    assert ask(peers.ours, case, 0, "quick").verdict == WRONG
