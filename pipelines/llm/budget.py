"""The budget of one run for served calls."""

NOT_COVERED = "budget"
"""The reason of the failure of a call that the budget does not cover."""


class Budget:
    """The budget of one run for served calls, with reservations for calls in flight; None is unlimited."""

    def __init__(self, limit: float | None) -> None:
        """Start with nothing spent."""
        self.limit, self.spent, self.reserved, self.open = limit, 0.0, 0.0, 0

    def reserve(self, max_cost: float) -> bool:
        """Reserve the maximum cost of a call; return False when it would exceed the budget."""
        if self.limit is not None and self.spent + self.reserved + max_cost > self.limit:
            return False
        self.reserved += max_cost
        self.open += 1
        return True

    def settle(self, max_cost: float, cost: float) -> None:
        """Replace a call's reservation with its actual cost."""
        self.open -= 1
        self.reserved = self.reserved - max_cost if self.open else 0.0
        self.spent += cost
