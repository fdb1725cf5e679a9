"""What is known: action keys, digests of inputs and code, the database, buildsys.lock; one decision a step."""
