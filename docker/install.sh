#!/bin/sh
# What is in the image, whoever builds it: docker/Dockerfile and docker/bionas.def both run this, as root, on a bare Debian 12.
# /build holds pyproject.toml, constraints.txt and plugins.txt.
set -eu

# git names the commit in a run's provenance. Debian's security updates are wanted, so no versions.
apt-get update
apt-get install --yes --no-install-recommends ca-certificates git python3 python3-venv
rm -rf /var/lib/apt/lists/*
git config --system --add safe.directory '*'

# torch comes with its CUDA libraries, and runs on a CPU as well.
python3 -m venv /opt/bionas
PATH=/opt/bionas/bin:$PATH
python -c "import tomllib; p = tomllib.load(open('/build/pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['test'], sep='\n')" > /build/all.txt
grep -v '^biotorch' /build/all.txt > /build/most.txt
pip install --no-cache-dir --constraint /build/constraints.txt --requirement /build/most.txt matplotlib pandas tensorboard tqdm

# biotorch asks for jupyter, which nothing imports: it is left out here and in biotorch's own list, so that `pip check` stays true.
grep '^biotorch' /build/all.txt > /build/biotorch.txt
pip install --no-cache-dir --constraint /build/constraints.txt --use-pep517 --no-deps --requirement /build/biotorch.txt
sed -i -E '/^Requires-Dist: (ipykernel|jupyter)$/d' /opt/bionas/lib/python3*/site-packages/biotorch-*.dist-info/METADATA

# Plugins need our code no more than torch does: they leave it out of their requirements.
pip install --no-cache-dir --constraint /build/constraints.txt --requirement /build/plugins.txt
pip check
