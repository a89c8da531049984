#!/bin/sh
# The measurements that need a GPU, each part under 9 minutes of it. Nothing is fetched from a network.
# Not run yet: no GPU could be had when this was written, so neither the limits of seconds nor the figures
# are measured.
#
#   benchmarks/gpu.sh 94    cifar10-fast94 for 20 seeds, then airbench94_muon and hiverge/cifar10-speedrun
#   benchmarks/gpu.sh 96    cifar10-fast96 for 5 seeds, then airbench96_faster
#   benchmarks/gpu.sh zoo   the small networks against the tutorials' loops, the loader alone, a step of
#                           speednet against cuDNN's convolutions, and `bench zoo` for 10 epochs
#
# PICTORCH_DATA     where cifar10 lies
# AIRBENCH          a checkout of github.com/KellerJordan/cifar10-airbench; without it that peer is left out
# HIVERGE           a checkout of github.com/hiverge/cifar10-speedrun; without it that peer is left out
# OUT               folder of the records (default: benchmarks/results)
# PYTHON            the Python in which pictorch is installed (default: .venv/bin/python)
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${OUT:-benchmarks/results}
part=${1:-}
mkdir -p "$out"
export PICTORCH_OFFLINE=1

# limited SECONDS COMMAND...: ends it in order when its seconds are over; what it has written stays.
limited() {
    seconds=$1
    shift
    timeout --signal=TERM --kill-after=20 "$seconds" "$@" || echo "ended with $?: $*" >&2
}

# speedrun TARGET SEEDS SECONDS: where the time does not suffice for all seeds, the record has those that are
# done; another call of this script goes on with the rest.
speedrun() {
    folder=$out/speedrun-$1
    run="$python -m pictorch bench speedrun --target 0.$1 --device cuda --set train.seed=1000 --out $folder"
    if ! timeout --signal=TERM --kill-after=20 "$3" $run --seeds "$2"; then
        done=$(grep -o evaluation_seconds "$folder/seconds.json" | wc -l)
        [ "$done" -gt 0 ] && timeout 60 $run --seeds "$done"
    fi
    cp "$folder/speedrun.json" "$out/$(date +%F)-fast$1-gpu.json" || echo "no seed was done" >&2
}

# peer CHECKOUT SCRIPT RUNS SECONDS: not again where today's record is there.
peer() {
    if [ -z "$1" ] || [ -f "$out/$(date +%F)-${2%.py}-gpu.json" ]; then
        echo "$2 is left out: no checkout is given, or its record is there" >&2
        return
    fi
    "$python" benchmarks/peers_gpu.py "$1/$2" --runs "$3" --seconds "$4" \
        --out "$out/$(date +%F)-${2%.py}-gpu.json" || echo "$2 failed" >&2
}

case $part in
94)
    speedrun 94 20 200
    peer "${AIRBENCH:-}" airbench94_muon.py 20 110
    peer "${HIVERGE:-}" cifar10_speedrun.py 20 130
    ;;
96)
    speedrun 96 5 180
    peer "${AIRBENCH:-}" airbench96_faster.py 5 240
    ;;
zoo)
    limited 200 "$python" benchmarks/tutorial_loop.py --device cuda --rounds 5 --seconds 2 \
        --out "$out/$(date +%F)-tutorial-loop-gpu.json"
    limited 40 "$python" benchmarks/loader_alone.py --device cuda --out "$out/$(date +%F)-loader-alone-gpu.json"
    limited 60 "$python" benchmarks/share_of_peak.py --device cuda --out "$out/$(date +%F)-share-of-peak-gpu.json"
    limited 220 "$python" -m pictorch bench zoo --device cuda --epochs 10 --out "$out/zoo"
    ;;
*)
    echo "usage: benchmarks/gpu.sh 94|96|zoo" >&2
    exit 2
    ;;
esac
