"""JoBS: mixture and configuration together, by short runs that are judged by their curves."""
