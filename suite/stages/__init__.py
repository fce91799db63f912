"""The kinds of job, one a file. With `suite.job` the only files here that import torch, and only once a job runs."""
