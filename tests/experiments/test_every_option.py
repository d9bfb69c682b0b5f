"""The command lines that CI runs contain every option and every choice."""

from tests.experiments.every_option import all_complaints, complaints


def test_every_option_and_every_choice_is_run():
    assert all_complaints() == []


def test_what_is_left_out_is_named():
    runs = ["--epochs 1 --model small a.png", "--epochs 2 --gone --model large"]
    options = {"--epochs", "--model", "--export"}
    values = {("--model", "small"), ("--model", "both")}
    assert complaints(runs, options, values) == [
        "--export is run nowhere",
        "--gone is run and does not exist",
        "--model both is run nowhere",
    ]
    assert complaints(runs, {"--epochs", "--gone", "--model"}, {("--model", "large")}) == []
