"""The command counts verdicts, and refuses names that fit nothing."""

import pytest

from experiments.command_line import UserError
from experiments.verifier import peers
from experiments.verifier.__main__ import Config, main
from experiments.verifier.peers import CRASHES, PASSES, WRONG, Answer
from experiments.verifier.tables import tally


def test_crash_of_a_verifier_is_counted_as_neither_found_nor_alarm(monkeypatch, tmp_path, capsys):
    said = {
        "sees nothing": lambda f, args, question: Answer(PASSES),
        "cries wolf": lambda f, args, question: Answer(WRONG, "wolf"),
        "falls over": lambda f, args, question: Answer(CRASHES, "RuntimeError: over"),
    }
    monkeypatch.setattr(peers, "available", lambda: said)
    cases = ("a number", "slope held constant", "wrong for symbolic zeros")
    record = main(Config(seeds=2, cases=cases, output_dir=tmp_path))
    assert (tmp_path / "verifier.json").exists()
    for name, verdict in zip(said, (PASSES, WRONG, CRASHES), strict=True):
        counts = tally(record["answers"], name)
        assert counts["wrong"] == {WRONG: 0, PASSES: 0, CRASHES: 0} | {verdict: 4}
        assert counts["right"] == {WRONG: 0, PASSES: 0, CRASHES: 0} | {verdict: 2}
    printed = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    rows = {cells[0]: [cell.strip() for cell in cells[1:] if cell.strip()] for cells in printed}
    assert rows["sees nothing"] == ["0 of 4", "4", "0", "2 of 2", "0", "0"]
    assert rows["cries wolf"] == ["4 of 4", "0", "0", "0 of 2", "2", "0"]
    assert rows["falls over"] == ["0 of 4", "0", "4", "0 of 2", "0", "2"]
    assert "falls over crashes: arguments, a number: RuntimeError: over (2 seeds)" in rows


def test_what_fits_nothing_is_refused(tmp_path):
    for option in ("cases", "verifiers", "constants"):
        with pytest.raises(UserError, match=f"--{option} nothing fits"):
            main(Config(**{option: ("nothing",)}, output_dir=tmp_path))
