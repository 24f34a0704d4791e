"""A curve is complete after an interruption, and equal rows yield equal bytes."""

from pathlib import Path

from pipelines.runtime.curve import Curve


def test_resumed_training_has_the_same_curve(tmp_path: Path) -> None:
    whole, torn = Curve(None), Curve(tmp_path / "curve.jsonl")
    for step in range(1, 6):
        whole.add({"loss": 1 / step}, step)
    for step in range(1, 4):
        torn.add({"loss": 1 / step}, step)
    again = Curve(tmp_path / "curve.jsonl")  # from a checkpoint at step 2
    for step in range(3, 6):
        again.add({"loss": 1 / step}, step)
    whole.write(tmp_path / "plots/whole.csv")
    again.write(tmp_path / "plots/again.csv")
    text = (tmp_path / "plots/again.csv").read_bytes()
    assert text == (tmp_path / "plots/whole.csv").read_bytes() and text.startswith(b"step,loss\n1,1.0\n2,0.5\n")


def test_metrics_of_a_step_are_one_row(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.jsonl")
    for step in (1, 2):
        curve.add({"loss": 1 / step}, step)
    curve.add({"validation_loss": 0.75}, 2)
    Curve(tmp_path / "curve.jsonl").write(tmp_path / "curve.csv")
    assert (tmp_path / "curve.csv").read_text() == "step,loss,validation_loss\n1,1.0,\n2,0.5,0.75\n"
