"""From sources to events, for as long as a run lasts."""
