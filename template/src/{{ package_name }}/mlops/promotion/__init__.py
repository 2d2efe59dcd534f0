"""From trained to trusted: evaluation, gates, approval, promotion and rollback."""
