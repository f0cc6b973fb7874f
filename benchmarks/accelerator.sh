#!/usr/bin/env bash
# Measures on a GPU machine that has no network.
#
#   accelerator.sh pack FOLDER     here: write FOLDER/part.1, FOLDER/part.2, ...
#   accelerator.sh stage PART      there: keep one part, if they arrive one by one
#   accelerator.sh run OUT [...]   there: unpack, then `python -m benchmarks.accelerator --out OUT ...`
#
# The machine needs Linux on x86-64, Python 3.12 with PyTorch 2.11 for CUDA 13, NumPy, transformers,
# tokenizers, safetensors and OpenCV, and this repository. Everything else is in the parts: MLX's
# CUDA wheel, the missing packages, and a tokenizer. A part holds at most PART_BYTES.
#
# Variables: PYTHON312 (an interpreter for `pack`), WORK (what `pack` keeps for the next time),
# STAGE (where the parts and what is in them lie on the machine).
set -euo pipefail
cd "$(dirname "$0")/.."
PART_BYTES=${PART_BYTES:-45000000}
WORK=${WORK:-$PWD/build/accelerator-work}
STAGE=${STAGE:-/tmp/mlx-notebook-accelerator}

# Packages that the machine has already, and those that only a notebook's kernel, the panels or
# other formats of data need.
LEFT_OUT=(
  numpy transformers tokenizers safetensors regex huggingface_hub hf_xet cv2 opencv_python PIL pillow
  pyarrow pandas scipy sentencepiece pip setuptools numba llvmlite yaml pyyaml google protobuf rich
  fsspec filelock charset_normalizer jinja2 typer xxhash
  IPython ipykernel ipython jedi debugpy ipywidgets jupyterlab_widgets widgetsnbextension anywidget
  matplotlib_inline prompt_toolkit pygments wcwidth openai cryptography mlx_audio _miniaudio
  miniaudio hypothesis pytest _pytest tzdata mlx_cpu mlx_notebook
)

version_of() { "$WORK/env/bin/python" -c "import importlib.metadata as m; print(m.version('$1'))"; }

# An environment with the project, from which the missing packages are taken.
make_environment() {
  [ -x "$WORK/env/bin/python" ] || "${PYTHON312:-python3.12}" -m venv "$WORK/env"
  "$WORK/env/bin/python" -m pip install --quiet . py-spy
}

# MLX's library for CUDA. It takes minutes to compress, so the result is kept.
fetch_library() {
  local version=$1 wheel
  [ -s "$WORK/libmlx-$version.xz" ] && [ -d "$WORK/cuda/mlx/include" ] && return
  "$WORK/env/bin/python" -m pip download --quiet --no-deps --only-binary=:all: \
    --python-version 3.12 --implementation cp --platform manylinux_2_35_x86_64 -d "$WORK" \
    "mlx-cuda-13==$version"
  wheel=$(ls "$WORK"/mlx_cuda_13-"$version"-*.whl)
  rm -rf "$WORK/cuda"
  "$WORK/env/bin/python" -m zipfile -e "$wheel" "$WORK/cuda"
  xz -T0 -9e -c "$WORK/cuda/mlx/lib/libmlx.so" > "$WORK/libmlx.part"
  mv "$WORK/libmlx.part" "$WORK/libmlx-$version.xz"
}

pack() {
  local folder=$1 version staging name excluded=()
  mkdir -p "$WORK" "$folder"
  make_environment
  version=$(version_of mlx)
  fetch_library "$version"
  staging=$(mktemp -d)
  trap "rm -rf '$staging'" EXIT
  cp "$WORK/libmlx-$version.xz" "$staging/libmlx.xz"
  tar -C "$WORK/cuda" -cf - mlx/include mlx_cuda_13.libs "mlx_cuda_13-$version.dist-info" \
    | xz -T0 -9 > "$staging/cuda.tar.xz"
  for name in "${LEFT_OUT[@]}"; do
    excluded+=(--exclude="./$name" --exclude="./$name.*" --exclude="./$name-*")
  done
  tar -C "$WORK"/env/lib/python3.12/site-packages -cf - --exclude=__pycache__ --exclude=./mlx/lib \
    --exclude=./mlx/include "${excluded[@]}" . | xz -T0 -9 > "$staging/site.tar.xz"
  xz -9 -c "$WORK/env/bin/py-spy" > "$staging/py-spy.xz"
  [ -f "$WORK/tokenizer/tokenizer.json" ] \
    || "$WORK/env/bin/python" -m benchmarks.models.shapes tokenizer "$WORK/tokenizer"
  tar -C "$WORK" -cf - tokenizer | xz -9 > "$staging/tokenizer.tar.xz"
  rm -f "$folder"/part.*
  tar -C "$staging" -cf - libmlx.xz cuda.tar.xz site.tar.xz py-spy.xz tokenizer.tar.xz \
    | split --bytes="$PART_BYTES" --numeric-suffixes=1 --suffix-length=1 - "$folder/part."
  ls -l "$staging" "$folder"/part.*
}

stage() {
  mkdir -p "$STAGE"
  cp "$1" "$STAGE/"
}

unpack() {
  local site=$STAGE/site began=$SECONDS
  [ -f "$STAGE/ready" ] && return
  mkdir -p "$site"
  cat "$STAGE"/part.* | tar -C "$STAGE" -xf -
  (xz -dc -T0 "$STAGE/libmlx.xz" > "$STAGE/libmlx.so") &
  tar -C "$site" -xJf "$STAGE/site.tar.xz"
  tar -C "$site" -xJf "$STAGE/cuda.tar.xz"
  tar -C "$STAGE" -xJf "$STAGE/tokenizer.tar.xz"
  xz -dc "$STAGE/py-spy.xz" > "$STAGE/py-spy"
  chmod +x "$STAGE/py-spy"
  wait
  mkdir -p "$site/mlx/lib"
  mv "$STAGE/libmlx.so" "$site/mlx/lib/libmlx.so"
  touch "$STAGE/ready"
  echo "unpacked in $((SECONDS - began)) s"
}

# MLX's library looks for CUDA's libraries, which came with PyTorch.
cuda_libraries() {
  python3 -c "
import glob, importlib.util
spec = importlib.util.find_spec('nvidia')
places = spec.submodule_search_locations if spec else []
print(':'.join(sorted(path for place in places for path in glob.glob(place + '/*/lib'))))"
}

run() {
  local out=$1
  shift
  mkdir -p "$out"
  unpack
  export PYTHONPATH=$STAGE/site:$PWD LD_LIBRARY_PATH
  LD_LIBRARY_PATH=$(cuda_libraries):${LD_LIBRARY_PATH:-}
  export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
  python3 -c "
import mlx.core as mx, mlx_lm, mlx_notebook.server.app
print(mx.default_device())"
  python3 -m benchmarks.accelerator --tokenizer "$STAGE/tokenizer" --out "$out" "$@" 2>&1 \
    | tee "$out/accelerator.log"
}

case ${1:-} in
  pack | stage) [ $# -eq 2 ] || { echo "accelerator.sh $1 needs one argument" >&2; exit 2; } ;;
  run) [ $# -ge 2 ] || { echo "accelerator.sh run needs a folder" >&2; exit 2; } ;;
  *) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
"$@"
