"""How the members of a training keep one network: a class for each way of updating."""
