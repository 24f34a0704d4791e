"""Bootstrap intervals, paired differences, and the number of questions that a decision needs."""
