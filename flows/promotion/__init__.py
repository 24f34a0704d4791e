"""From candidate to champion: registration, evaluation, the promotion gate, promotion and rollback."""
