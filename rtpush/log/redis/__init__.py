"""The log that many nodes share: a stream in Redis, and a bus beside it."""
