"""The whole system on one machine, from child processes alone: for `make run`, `make demo` and the tests."""
