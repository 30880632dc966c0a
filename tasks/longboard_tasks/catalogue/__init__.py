"""What suites, tasks, metrics and methods exist. No torch here: the platform reads this to check and to price a request."""
