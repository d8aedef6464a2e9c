"""What several adapters ask of the kernel's sockets in the same words."""
