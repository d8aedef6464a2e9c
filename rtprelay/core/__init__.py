"""The sans-IO heart: inputs are values, outputs are effects; nothing here reads a clock, a socket or chance."""
