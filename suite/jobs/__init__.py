"""The kinds of job, one a file, and what all of them need. Here alone torch is imported, and only once a job runs."""
