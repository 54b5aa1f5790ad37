"""What ships: writing, reading and running a bundle."""
