"""The pure state machine of a study and the drivers that feed it."""
