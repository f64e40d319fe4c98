"""The offline half: builds, trains, quantises and verifies the models that the agent runs."""
