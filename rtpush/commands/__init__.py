"""The commands beside `serve`: each a module with `main(argv) -> exit code`."""
