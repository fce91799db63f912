"""Raw files → data/<name>.h5, once a data set. One file per source.

To add a data set, write a module whose `prepare(raw)` returns a `bionas.dataset.Dataset`, and add its line here.
"""

DATASETS = {
    "digits": "data_prep.digits:prepare",
    "fashion_mnist": "data_prep.fashion_mnist:prepare",
}
