"""The block `calibrate` of params.yaml."""

from pipelines.block import Block, Fraction, Positive


class CalibrateConfig(Block):
    """How the confidence of the candidate is calibrated, and when it abstains."""

    max_wrong: Fraction
    """Maximum share of wrong answers among those given, unanswerable questions included."""
    alpha: Fraction
    """Probability that the chosen threshold exceeds `max_wrong`, over draws of the calibration questions."""
    fit_share: Fraction
    """Share of the calibration answers, in whole documents, that the confidence is fitted on; the others test the
    thresholds."""
    penalty: Positive
    """Weight of the squared coefficients of the logistic regression; higher values suit fewer questions."""
