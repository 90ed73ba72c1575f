"""The daemon: it holds one control connection, is offered jobs, runs each as a process of its own, and reports."""
