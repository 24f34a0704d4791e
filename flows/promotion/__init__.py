"""From a candidate to the champion: registration, evaluation, the gate, promotion and rollback."""
