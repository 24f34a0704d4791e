"""What served calls may cost in one run."""


class Budget:
    """What may be spent on served calls in one run; None is without limit."""

    def __init__(self, limit: float | None) -> None:
        """Begin with nothing spent."""
        self.limit, self.spent, self.promised, self.open = limit, 0.0, 0.0, 0

    def promise(self, most: float) -> bool:
        """Put the most that a call can cost aside, if there is room for it."""
        if self.limit is not None and self.spent + self.promised + most > self.limit:
            return False
        self.promised += most
        self.open += 1
        return True

    def settle(self, most: float, cost: float) -> None:
        """Take what a call did cost in place of what was put aside."""
        self.open -= 1
        self.promised = self.promised - most if self.open else 0.0
        self.spent += cost
