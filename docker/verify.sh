#!/usr/bin/env bash
# Build the image and prove it: the tests and a definition inside, without network and with a read-only root, and the same digest as on
# this host. Where apptainer or singularity is there, the same through `snakemake --use-singularity`.
#   docker/verify.sh [IMAGE]
#   ENGINE=podman           docker (default), or podman
#   BUILD_ARGS="…"          more words for the build
#   CONFIG="benchmark=demo size=tiny"      what is run (default), for `snakemake --config`
#   ADDRESS=docker://NAME   what Snakemake pulls; left out, a SIF is built from docker/bionas.def, and holds the same packages
#   DEFINITION=             left empty, the SIF is built from the engine's image
# Snakemake is taken from .venv, else from the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
IMAGE=${1:-localhost/bionas:dev}
ENGINE=${ENGINE:-$(command -v docker || command -v podman)}
CONFIG=${CONFIG:-benchmark=demo size=tiny}
DEFINITION=${DEFINITION-docker/bionas.def}
PATH=$PWD/.venv/bin:$PATH
if [[ -z $ENGINE ]]; then
    echo "docker/verify.sh: neither docker nor podman is here" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

inside() { # a command in the image, in a copy of this checkout: no network, nothing writable but the copy and /tmp
    "$ENGINE" run --rm --network=none --read-only --tmpfs /tmp:exec --user "$(id -u):$(id -g)" -v "$work/inside:/work" "$IMAGE" "$@"
}

digest() { python -m suite.store "$1"/results/*/metrics.h5 | cut -d" " -f1; }

same() { # as on the host
    local host there
    host=$(digest "$work/host") there=$(digest "$1")
    echo "host $host, there $there"
    [[ $host == "$there" ]]
}

copy() { # what git knows, as it stands, and the raw data
    mkdir -p "$work/$1"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/$1"
    cp -r .git "$work/$1/"
}

say "build $IMAGE"
# shellcheck disable=SC2086
"$ENGINE" build ${BUILD_ARGS:-} -f docker/Dockerfile -t "$IMAGE" --build-arg COMMIT="$(git rev-parse HEAD)" .
"$ENGINE" image inspect "$IMAGE" --format 'size {{.Size}} bytes'

copy inside
copy host
say "what is inside: consistent, no compiler, no kernels of notebooks, no root"
inside pip check
inside bash -c '! command -v cc gcc g++ clang && ! python -c "import ipykernel" 2>/dev/null && python -c "import torch, biotorch, cma, torchattacks, h5py"'
[[ $("$ENGINE" run --rm "$IMAGE" id -u) != 0 ]]

say "the tests, inside"
inside pytest -q

say "$CONFIG, on this host"
# shellcheck disable=SC2086
(cd "$work/host" && snakemake --cores all --config $CONFIG >"$work/host.log" 2>&1) || { tail "$work/host.log"; exit 1; }
say "$CONFIG, inside"
# shellcheck disable=SC2086
inside snakemake --cores all --config $CONFIG >"$work/inside.log" 2>&1 || { tail "$work/inside.log"; exit 1; }
same "$work/inside"

apptainer=$(command -v apptainer || command -v singularity || true)
if [[ -n $apptainer ]]; then
    copy through
    if [[ -z ${ADDRESS:-} ]]; then
        say "an image file of ${DEFINITION:-$IMAGE}"
        "$apptainer" build "$work/bionas.sif" "${DEFINITION:-docker-daemon:$IMAGE}"
        ADDRESS=$work/bionas.sif
        diff <(inside pip freeze) <("$apptainer" exec "$ADDRESS" pip freeze)
    fi
    say "$CONFIG, through snakemake --use-singularity"
    # shellcheck disable=SC2086
    (cd "$work/through" && snakemake --cores all --use-singularity --config image="$ADDRESS" $CONFIG >"$work/through.log" 2>&1) ||
        { tail "$work/through.log"; exit 1; }
    same "$work/through"
fi
say "all good"
