#!/usr/bin/env bash
# A short visit to a machine with a GPU, from the root of the repository, with what scripts/gpu_pack.sh packed. Each part
# runs under a time limit of its own, the most valuable first; what fails or hangs stops nothing else. $OUT (default: a new
# temporary folder) gets at most 8 files; summary.txt, printed last, stays under 12,000 characters.
# usage: scripts/gpu_visit.sh A|B [OPTIONS]
#   A  environment, a tiny net, the tests, VGG16 and ResNet-50 at 224, WRN-28-10, PyTorch, a sweep
#   B  tests again, ours and PyTorch in turns, a profile, a whole attack, halving, compute-sanitizer
#   --parts LIST     only parts whose names begin so: environment,tiny,test,timings,others,torch,sweep; turns,profile,attack,halving,sanitizer
#   --tests LIST     (B) tests to run again            --precisions LIST  in this order [f32,bf16,tf32; B: bf16,f32,tf32]
#   --modes LIST     (B) PyTorch's in turns [compile]  --sanitize TEST    (B) for compute-sanitizer
#   --free MIB       (B) memory left for halving       --limit SECONDS    in all [A: 540, B: 300]
#   --rehearse cpu|DIR  without a GPU, on small nets: on the CPU, or with stand-ins for the CUDA libraries from DIR
#   --hang PART, --fail PART  parts, by the beginning of their names, that hang or fail, to see what becomes of it
# PYTHON names the Python that has PyTorch [python3].
# shellcheck disable=SC2317
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

# ---- what parts use; they run in processes of their own, so everything they need is exported

# seconds since then
seconds() { awk "BEGIN {printf \"%.1f\", $EPOCHREALTIME - $1}"; }

# a line for the summary
key() { printf '=> %s\n' "$*"; }

worker() { # PRECISION [OPTIONS]: our engine; the CPU's in a rehearsal without stand-ins
  local precision=$1
  shift
  if [ "$DEVICE" = cuda ]; then set -- --device cuda --precision "$precision" "$@"; fi
  "$BIN/worker" "$@"
}

# Sends the commands of stdin to a worker and tells the answers, with the seconds that passed.
ask() { # PRECISION
  local commands line command i=0 began=$EPOCHREALTIME now
  mapfile -t commands
  printf '%s\n' "${commands[@]}" | worker "$1" | while IFS= read -r line; do
    command=${commands[i]} now=$EPOCHREALTIME
    awk -v command="$command" -v answer="$line" -v wall="$(awk "BEGIN {print $now - $began}")" 'BEGIN {
      split(command, word, " ")
      if (word[1] == "gradient" || word[1] == "forward")
        printf "=> %s b%s: %.4g ms, %.5g images/s (%d passes, %.1f s in all)\n",
          word[1], word[2], answer * 1e3, word[2] / answer, word[3], wall
      else { sub("/.*/", "", command); printf "=> %s: %s (%.1f s)\n", command, answer, wall }
    }'
    i=$((i + 1)) began=$now
  done
}

# Logits and gradients of `check` against the CPU's, as carried along. Fails where they are far off.
agree() { # PRECISION OURS REFERENCE
  "$PYTHON" - "$@" << 'AGREE'
import array, json, math, sys

def tensors(file):
    data = open(file, "rb").read()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {name: array.array("f", data[start + e["data_offsets"][0]:start + e["data_offsets"][1]])
            for name, e in header.items() if name != "__metadata__"}

precision, ours, theirs = sys.argv[1], tensors(sys.argv[2]), tensors(sys.argv[3])
dot = lambda a, b: math.fsum(x * y for x, y in zip(a, b))
error = math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(ours["logits"], theirs["logits"]))
                  / dot(theirs["logits"], theirs["logits"]))
a, b = ours["gradient"], theirs["gradient"]
n = len(a) // 4
cosines = []
for i in range(4):
    x, y = a[i * n:i * n + n], b[i * n:i * n + n]
    cosines.append(dot(x, y) / math.sqrt(max(dot(x, x) * dot(y, y), 1e-300)))
most, least = {"f32": (1e-3, 0.999), "tf32": (1e-2, 0.95), "bf16": (5e-2, 0.8)}[precision]
cosines.sort()
good = error <= most and cosines[1] >= least
print(f"=> against the CPU: logits {error:.1e} off, cosine of gradients {cosines[0]:.6f} to {cosines[3]:.6f}"
      + ("" if good else f"; TOO FAR (logits {most}, second gradient {least})"))
sys.exit(not good)
AGREE
}

# Samples memory, clock and power while the rest of the part runs.
watch_gpu() {
  nvidia-smi --query-gpu=memory.used,clocks.sm,power.draw,utilization.gpu --format=csv,noheader,nounits -lms 250 \
    > "$WORK/gpu-samples.csv" 2> /dev/null &
  WATCH=$!
}

tell_gpu() {
  kill "$WATCH" 2> /dev/null
  awk -F', *' '$1 > most {most = $1} $4 > 80 {n++; clock += $2; power += $3}
    END {if (NR) printf "=> card: most memory %d MiB; while busy %d MHz, %d W (%d samples)\n", most,
      n ? clock / n : 0, n ? power / n : 0, n}' "$WORK/gpu-samples.csv"
}

# ---- the parts

environment() {
  local name d found tools=
  nvidia-smi --query-gpu=name,driver_version,memory.total,memory.free,clocks.sm,clocks.max.sm --format=csv,noheader |
    sed 's/^/=> /' || key 'no nvidia-smi'
  key "$(nproc) cores, $(awk '/MemTotal/ {printf "%d GiB", $2 / 2^20}' /proc/meminfo)," \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), kernel $(uname -r)"
  for name in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libnvrtc.so.13 libcudnn.so.9; do
    found=
    for d in ${LD_LIBRARY_PATH//:/ }; do if [ -e "$d/$name" ]; then found=$d/$name && break; fi; done
    found=${found:-$(ldconfig -p | awk -v n="$name" '$1 == n {print $NF; exit}')}
    key "$name: ${found:-MISSING}"
  done
  for name in nsys ncu compute-sanitizer nvcc gcc; do command -v "$name" > /dev/null && tools="$tools $name"; done
  key "tools:${tools:- none}"
  "$PYTHON" - << 'VERSIONS'
from importlib.metadata import PackageNotFoundError, version
import platform
told = [f"Python {platform.python_version()}"]
for name in ("torch", "triton", "numpy", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cuda-nvrtc"):
    try:
        told.append(f"{name} {version(name)}")
    except PackageNotFoundError:
        told.append(f"no {name}")
print("=> " + ", ".join(told))
VERSIONS
  echo "LD_LIBRARY_PATH=$LD_LIBRARY_PATH"
  nvidia-smi || true
}

# From a cold disk, libraries of gigabytes take a while: they are read while small parts run.
warm_up() {
  local began=$EPOCHREALTIME d file
  for d in ${LD_LIBRARY_PATH//:/ }; do
    for file in "$d"/lib{cudnn,cublas,nvrtc,curand}*.so*; do
      if [ -f "$file" ]; then cat "$file" > /dev/null; fi
    done
  done
  echo "CUDA's libraries read after $(seconds "$began") s"
  "$PYTHON" -c 'import torch, torch._dynamo, torch._inductor.compile_fx, triton' > /dev/null 2>&1
  echo "PyTorch imported after $(seconds "$began") s"
}

tiny() { # PRECISION
  export FOOLPROOF_CUDA_LOG=1
  ask "$1" << COMMANDS || return
load vgg11-half 32
gradient 8 20
gradient $TINY_BATCH 20
forward $TINY_BATCH 20
check $WORK/tiny-$1
COMMANDS
  agree "$1" "$WORK/tiny-$1" "$PACK/reference/vgg11-half-32"
}

one_test() { # NAME
  local rc
  "$BIN/tests" --exact "$1" --nocapture > "$WORK/one-test" 2>&1
  rc=$?
  cat "$WORK/one-test"
  # the worst of the lines «shape precision: logits 1.2e-6, gradients 3.4e-6»
  awk 'match($0, / (f32|tf32|bf16): logits /) {
      split(substr($0, RSTART + 1), word, /[ :,]+/); p = word[1]; n[p]++
      if (word[3] + 0 >= z[p] + 0) z[p] = word[3]
      if (word[5] + 0 >= g[p] + 0) g[p] = word[5]
    } END {for (p in n) printf "=> %s: %d shapes, worst logits %s, worst gradients %s\n", p, n[p], z[p], g[p]}' "$WORK/one-test"
  if [ "$DEVICE" = cuda ] && grep -q "skipped ${1##*::}:" "$WORK/one-test"; then
    key 'skipped: no device was opened'
    return 9
  fi
  grep -h -m 1 '^test result' "$WORK/one-test" | sed 's/; 0 ignored.*out;/;/; s/^/=> /'
  return "$rc"
}

timings() { # PRECISION [NET]
  local n=20 rc net=${2:-$NET}
  if [ "$1" = f32 ] || [ -n "$REHEARSE" ]; then n=5; fi
  export FOOLPROOF_CUDA_LOG=1
  watch_gpu
  ask "$1" << COMMANDS
load $net
gradient $LARGE $n
gradient $LARGE $n
gradient $LARGE $n
forward $LARGE $n
gradient $SMALL $((2 * n))
gradient $SMALL $((2 * n))
forward $SMALL $((2 * n))
check $WORK/timings-${net% *}-$1
COMMANDS
  rc=$?
  tell_gpu
  if [ "$rc" = 0 ]; then agree "$1" "$WORK/timings-${net% *}-$1" "$PACK/reference/${net/ /-}"; else return "$rc"; fi
}

torch() {
  "$PYTHON" scripts/gpu_torch.py --say --budget "$1" "${TORCH_OPTIONS[@]}" --precision "$PRECISIONS"
}

# The configuration with a precision, and in a rehearsal with few images and steps.
sweep_file() { # PRECISION FILE
  local precision=$1
  if [ "$DEVICE" = cpu ]; then precision=f32; fi
  sed "s/^\[\[sweep\]\]/&\nprecision = \"$precision\"/" configs/sweeps/pgd.toml > "$2"
  if [ -n "$REHEARSE" ]; then
    sed -i 's/"cifar10-sample"/&, take = 2/; s/steps = 40/steps = 4/; s/"2\/255", "4\/255", //' "$2"
  fi
}

# Runs a sweep and tells its seconds; the attacks' alone from the records of the cells.
run_sweep() { # CONFIGURATION NAME-OF-THE-RUN FOLDER [OPTIONS]
  local began=$EPOCHREALTIME config=$1 name=$2 folder=$3 rc
  shift 3
  { "$BIN/foolproof" --config "$config" --quiet --out "$folder" "$@" > /dev/null; } 2>&1
  rc=$?
  key "$(seconds "$began") s in all, exit status $rc"
  "$PYTHON" - "$folder/$name" << 'SECONDS'
import json, pathlib, sys
records = [json.loads(p.read_text()) for p in pathlib.Path(sys.argv[1]).rglob("provenance.json")]
for record in records[:1]:
    print(f"=> on {record['device']}, {record['threads']} threads, batch {record['batch']}")
longest = sorted((r["time_s"] for r in records), reverse=True)[:4]
print(f"=> {len(records)} cells, {sum(r['time_s'] for r in records):.1f} s; longest {', '.join(f'{s:.2f}' for s in longest)} s")
SECONDS
  return "$rc"
}

# Standing images cell by cell; a difference of more than MOST fails.
compare_summaries() { # OURS REFERENCE MOST
  "$PYTHON" - "$@" << 'COMPARE'
import csv, sys

def standing(file):
    key = ("model", "attack", "params", "eps")
    return {tuple(row[k] for k in key): (int(row["robust_correct"] or -1), row) for row in csv.DictReader(open(file))}

ours, theirs, most = standing(sys.argv[1]), standing(sys.argv[2]), int(sys.argv[3])
missing = [cell for cell in theirs if cell not in ours]
off = {cell: ours[cell][0] - theirs[cell][0] for cell in theirs if cell in ours}
different = {cell: d for cell, d in off.items() if d}
worst = max(map(abs, off.values()), default=0)
clean = sum(ours[c][1]["clean_correct"] != theirs[c][1]["clean_correct"] for c in off)
failed = sum(row["status"] != "ok" for _, row in ours.values())
images = next(iter(theirs.values()))[1]["n"]
print(f"=> {len(off)} cells of {images} images: {len(different)} differ from the reference, by {worst} at most (allowed {most}); "
      f"{clean} differ in clean images, {failed} failed, {len(missing)} missing")
for cell, d in list(different.items())[:6]:
    print(f"   {cell}: {theirs[cell][0]} -> {theirs[cell][0] + d}")
# rounding may tip an image near the boundary, and short formats a few; more is a fault
sys.exit(bool(worst > most or clean or failed or missing))
COMPARE
}

sweep() { # PRECISION
  local reference=$PACK/reference/summary.csv most=3
  if [ "$1" = f32 ]; then most=1; fi
  sweep_file "$1" "$WORK/sweep-$1.toml"
  if [ -n "$REHEARSE" ]; then
    sweep_file f32 "$WORK/sweep-reference.toml"
    "$BIN/foolproof" --config "$WORK/sweep-reference.toml" --device cpu --quiet --out "$WORK/sweep-reference" > /dev/null
    reference=$WORK/sweep-reference/pgd/tables/summary.csv
  fi
  run_sweep "$WORK/sweep-$1.toml" pgd "$WORK/sweep-$1" --device "$DEVICE" || return
  compare_summaries "$WORK/sweep-$1/pgd/tables/summary.csv" "$reference" "$most"
}

turns() { # PRECISION SECONDS [NETS]
  "$PYTHON" scripts/gpu_torch.py --say --net "${3:-vgg16}" --budget "$2" --rounds 5 --worker "$BIN/worker" --worker-device "$DEVICE" \
    --precision "$1" --mode "$MODES" "${TORCH_OPTIONS[@]}"
}

# Kernels of one pass from a profiler's table. Prints how many it saw in all and in a pass to FILE.
kernels() { # CSV FILE
  "$PYTHON" - "$@" << 'KERNELS'
import csv, pathlib, re, sys
lines = open(sys.argv[1], errors="replace").read().splitlines()
first = next(i for i, line in enumerate(lines) if "Name" in line and line.count(",") > 4)
rows = list(csv.DictReader(lines[first:]))
name = next(k for k in rows[0] if k in ("Kernel Name", "Name"))
column = next(k for k in rows[0] if k.startswith(("gpu__time_duration", "Duration (ns)")))
seen = []
for row in rows:
    try:
        seen.append((row[name], float(row[column].replace(",", ""))))
    except (ValueError, AttributeError, TypeError):
        pass  # ncu's row of units
# the last passes are alike: one is the shortest end that comes twice
names = [k for k, _ in seen]
period = next((n for n in range(8, len(names) // 2 + 1) if names[-n:] == names[-2 * n:-n]), len(names))
one = seen[-period:]
total = sum(t for _, t in one)
print(f"=> {len(seen)} kernels seen; one pass has {period}, {total / 1e6:.2f} ms")
groups = {}
for kernel, t in one:
    short = kernel if len(kernel) <= 90 else re.sub(r"^void |<.*|\(.*", "", kernel)[:40] + " ... " + kernel[-45:]
    time, count = groups.get(short, (0.0, 0))
    groups[short] = (time + t, count + 1)
for kernel, (t, count) in sorted(groups.items(), key=lambda g: -g[1][0])[:12]:
    print(f"=> {t / total:5.1%} {t / 1e6:8.3f} ms {count:3} x {kernel}")
print("the pass in order:")
for kernel, t in one:
    print(f"{t / 1e3:10.1f} us {kernel[:150]}")
pathlib.Path(sys.argv[2]).write_text(f"{len(seen)} {period}\n")
KERNELS
}

# Kernels of one pass with their times: by nsys, else by ncu, else what our own log says.
profile() { # PRECISION
  local rc=1 all of_pass csv=$WORK/profile.csv
  printf 'load %s\ngradient %s 4\n' "$NET" "$LARGE" > "$WORK/commands"
  if [ "$DEVICE" = cuda ]; then set -- "$BIN/worker" --device cuda --precision "$1"; else set -- "$BIN/worker"; fi
  if command -v nsys > /dev/null; then
    key 'by nsys'
    nsys profile -t cuda -o "$WORK/profile" --force-overwrite true "$@" < "$WORK/commands" &&
      nsys stats --report cuda_gpu_trace --format csv "$WORK/profile.nsys-rep" > "$csv" && kernels "$csv" "$WORK/seen"
    rc=$?
  elif command -v ncu > /dev/null; then
    set -- ncu --clock-control none --metrics gpu__time_duration.sum --print-units base --csv --page raw --log-file "$csv" "$@"
    key 'by ncu, everything; it disturbs the timing by which algorithms are chosen'
    FOOLPROOF_CUDA_LOG=1 "$@" < "$WORK/commands" && kernels "$csv" "$WORK/seen"
    rc=$?
    shift
    if [ "$rc" = 0 ] && read -r all of_pass < "$WORK/seen"; then
      key 'by ncu, the last passes only: the choice is undisturbed'
      FOOLPROOF_CUDA_LOG=1 ncu --launch-skip $((all > 3 * of_pass ? all - 3 * of_pass : 0)) "$@" < "$WORK/commands" &&
        kernels "$csv" "$WORK/seen"
      return 0
    fi
    shift 10
  fi
  if [ "$rc" = 0 ]; then return; fi
  key "no profiler that works (status $rc); the engine's own log:"
  FOOLPROOF_CUDA_LOG=1 "$@" < "$WORK/commands" 2>&1 | tail -n 40 | cut -c 1-150 | sed 's/^/=> /'
}

# Random VGG16 and random pictures of class 0. The net leans to class 0 so far that no attack succeeds, so every step of
# PGD-20 is computed for every picture.
prepare_attack() {
  "$PYTHON" - "$WORK/attack" "${REHEARSE:+tiny}" "$ATTACKED" "$DEVICE" << 'PREPARE'
import json, math, pathlib, random, struct, sys, zlib
folder, tiny, images, on_cpu = pathlib.Path(sys.argv[1]), bool(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "cpu"
import numpy
if tiny:
    family, width, side, classes, head = "vgg11", 0.25, 32, 10, [10]
    plan = [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]
else:
    family, width, side, classes, head = "vgg16", 1.0, 224, 1000, [4096, 4096, 1000]
    plan = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
tensors, numbers = [], numpy.random.default_rng(0)
def layer(name, shape, bias, scale=1.0):
    fan_in = math.prod(shape[1:])
    weight = (numbers.random(shape, dtype=numpy.float32) * 2 - 1) * numpy.float32(scale * math.sqrt(6 / fan_in))
    tensors.append((name + ".weight", weight.astype("<f4")))
    tensors.append((name + ".bias", numpy.asarray(bias, dtype="<f4")))
channels, place, map_side = 3, 0, side
for outputs in plan:
    if outputs == 0:
        place, map_side = place + 1, map_side // 2
        continue
    outputs = int(outputs * width)
    layer(f"features.{place}", (outputs, channels, 3, 3), [0.01] * outputs)
    channels, place = outputs, place + 2
inputs = channels * map_side * map_side
for i, outputs in enumerate(head):
    last = i + 1 == len(head)
    layer("classifier" if len(head) == 1 else f"classifier.{3 * i}", (outputs, inputs),
          [5.0 if last and k == 0 else 0.0 for k in range(outputs)], 0.05 if last else 1.0)
    inputs = outputs
header, offset = {}, 0
for name, tensor in tensors:
    header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
    offset += tensor.nbytes
head_bytes = json.dumps(header).encode()
head_bytes += b" " * (-len(head_bytes) % 8)
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "random.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(head_bytes)) + head_bytes)
    for _, tensor in tensors:
        file.write(tensor.tobytes())
(folder / "random.toml").write_text(
    f'family = "{family}"\nwidth = {width}\nhead = "{"linear" if len(head) == 1 else "mlp"}"\nclasses = {classes}\n'
    f"side = {side}\nresize = {side}\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n"
    f'keys = "torchvision"\nweights = "random.safetensors"\n')
for k in range(classes):
    (folder / "pictures" / f"{k:04}").mkdir(parents=True, exist_ok=True)
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
dice = random.Random(0)
for i in range(images):
    rows = b"".join(b"\0" + dice.randbytes(3 * side) for _ in range(side))
    (folder / "pictures" / "0000" / f"{i:04}.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))
for precision in ("f32", "tf32", "bf16"):
    (folder / f"{precision}.toml").write_text(
        f'name = "attack"\nseed = 0\n\n[[sweep]]\nprecision = "{"f32" if on_cpu else precision}"\nmodels = ["{folder}/random.toml"]\n'
        f'data = {{ name = "folder", path = "{folder}/pictures" }}\ngoals = ["untargeted"]\n'
        f'threats = [{{ norm = "linf", eps = ["4/255"] }}]\n'
        f'attacks = [{{ name = "pgd", steps = {2 if tiny else 20}, step_size = "2.5*eps/steps", random_start = true }}]\n')
print(f"=> {images} pictures of {side}, {offset >> 20} MiB of weights")
PREPARE
}

attack() { # PRECISION
  run_sweep "$WORK/attack/$1.toml" attack "$WORK/attack/out-$1" --device "$DEVICE" --batch "$ATTACKED" || return
  cut -d, -f 2,4,5,8,12-15,24,25 "$WORK/attack/out-$1/attack/tables/summary.csv" | sed 's/^/=> /'
}

# A process holds the card's memory but for so much; the net must take fewer images at a time and find the same.
halving() { # PRECISION
  local holder mib rc free=$FREE
  if [ -z "$REHEARSE" ]; then
    "$PYTHON" -c '
import sys, time, torch
leave = int(sys.argv[1]) << 20
held = [torch.empty(max(torch.cuda.mem_get_info()[0] - leave, 1), dtype=torch.uint8, device="cuda")]
print("held", held[0].numel() >> 20, "MiB, free", torch.cuda.mem_get_info()[0] >> 20, flush=True)
time.sleep(600)' "$free" > "$WORK/held" 2>&1 &
    holder=$!
    for _ in {1..150}; do
      if [ -s "$WORK/held" ] || ! kill -0 "$holder" 2> /dev/null; then break; fi
      sleep 0.2
    done
    key "$(tail -n 1 "$WORK/held")"
    grep -q '^held' "$WORK/held" || return 4
  else
    key 'rehearsal: nothing is held here'
  fi
  # the stand-ins get less and less memory instead
  for mib in $([[ $REHEARSE == */* ]] && seq 48 -4 12) "$free"; do
    if [ "$mib" != "$free" ]; then export CUDA_STAND_IN_MEMORY=$((mib << 20)); fi
    rm -rf "$WORK/halving-$1"
    run_sweep "$WORK/attack/$1.toml" attack "$WORK/halving-$1" --device "$DEVICE" --batch "$ATTACKED" > "$WORK/halving.txt"
    rc=$?
    if [ "$rc" != 0 ] || grep -q 'images at a time' "$WORK/halving.txt"; then break; fi
  done
  if [ -n "${holder:-}" ]; then kill "$holder"; fi
  if [ "$mib" != "$free" ]; then key "with $mib MiB"; fi
  cat "$WORK/halving.txt"
  grep 'images at a time' "$WORK/halving.txt" | sed 's/^/=> /' ||
    { key 'it never said that it takes fewer images'; [ "$DEVICE" = cpu ] || rc=5; }
  compare_summaries "$WORK/halving-$1/attack/tables/summary.csv" "$WORK/attack/out-$1/attack/tables/summary.csv" 0 || return
  "$PYTHON" - "$WORK/attack/out-$1" "$WORK/halving-$1" << 'MARGINS'
import csv, pathlib, sys
whole, halved = ([float(row["margin_adversarial"]) for file in pathlib.Path(folder).rglob("outcomes.csv")
                  for row in csv.DictReader(file.open())] for folder in sys.argv[1:])
print(f"=> margins after the attack, {min(whole):.4g} to {max(whole):.4g}, differ by {max(abs(a - b) for a, b in zip(whole, halved)):.1e} at most")
MARGINS
  return "$rc"
}

sanitizer() { # TEST
  local tool
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null) ||
    { key 'no compute-sanitizer here'; return 0; }
  "$tool" --tool memcheck --error-exitcode 7 "$BIN/tests" --exact "$1" --nocapture > "$WORK/sanitizer.txt" 2>&1
  local rc=$?
  head -c 200000 "$WORK/sanitizer.txt"
  grep -h 'ERROR SUMMARY\|test result\|Invalid\|Error' "$WORK/sanitizer.txt" | sort | uniq -c | sort -rn | head -6 | sed 's/^/=> /'
  return "$rc"
}

if [ "${1:-}" = --part ]; then # in a process of its own
  name=$2
  shift 2
  read -ra TORCH_OPTIONS <<< "$TORCH_WORDS"
  if [[ -n $HANG && $name = "$HANG"* ]]; then
    trap '' TERM
    key 'told to hang'
    while :; do sleep 1; done
  fi
  if [[ -n $FAIL && $name = "$FAIL"* ]]; then key 'told to fail' && echo 'a panic would stand here' && exit 3; fi
  "$@"
  exit
fi

# ---- the visit

VISIT=${1:-}
case $VISIT in A | B) shift ;; *) sed -n '2,/^# shell/{/^# shell/d; s/^# \{0,1\}//; p}' "$0" >&2 && exit 2 ;; esac
ONLY='' TESTS='' PRECISIONS='' MODES=compile SANITIZE=cuda_nets::a_batch_in_parts_is_the_batch FREE=8000 LIMIT='' REHEARSE='' HANG='' FAIL=''
while [ $# -gt 1 ]; do
  case $1 in
    --parts) ONLY=$2 ;;
    --tests) TESTS=$2 ;;
    --precisions) PRECISIONS=$2 ;;
    --modes) MODES=$2 ;;
    --sanitize) SANITIZE=$2 ;;
    --free) FREE=$2 ;;
    --limit) LIMIT=$2 ;;
    --rehearse) REHEARSE=$2 ;;
    --hang) HANG=$2 ;;
    --fail) FAIL=$2 ;;
    *) break ;;
  esac
  shift 2
done
if [ $# -gt 0 ]; then echo "what is '$1'?" >&2 && exit 2; fi
if [ "$VISIT" = A ]; then
  LIMIT=${LIMIT:-540} PRECISIONS=${PRECISIONS:-f32,bf16,tf32}
else
  LIMIT=${LIMIT:-300} PRECISIONS=${PRECISIONS:-bf16,f32,tf32}
fi

OUT=${OUT:-$(mktemp -d)}
WORK=$(mktemp -d)
mkdir -p "$OUT"
PACK=$WORK/pack BIN=$WORK/pack PYTHON=${PYTHON:-python3} DEVICE=cuda
NET='vgg16 224' OTHERS=('resnet50 224' 'wrn-28-10 32') LARGE=256 ATTACKED=256 SMALL=64 TINY_BATCH=256 TORCH_WORDS='--batch 256,64'
if [ -n "$REHEARSE" ]; then
  NET='vgg11-half 32' OTHERS=('resnet50 32') LARGE=8 ATTACKED=64 SMALL=4 TINY_BATCH=16 TORCH_WORDS='--device cpu --tiny'
fi
case $REHEARSE in
  '') # PyTorch's wheels hold the CUDA libraries; system folders as well
    packages=$(timeout 10 "$PYTHON" -c '
import glob, importlib.util, sysconfig
spec = importlib.util.find_spec("nvidia")
for base in dict.fromkeys([*(spec.submodule_search_locations if spec else []), sysconfig.get_paths()["purelib"] + "/nvidia"]):
    print(*sorted(glob.glob(base + "/*/lib")), sep="\n")')
    for d in $packages /usr/local/nvidia/lib64 /usr/local/cuda/lib64; do
      if [ -d "$d" ]; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$d; fi
    done
    export FOOLPROOF_EXPECT_CUDA=1
    ;;
  cpu) DEVICE=cpu ;;
  *)
    export FOOLPROOF_CUDA_LIBS=$REHEARSE FOOLPROOF_EXPECT_CUDA=1
    LD_LIBRARY_PATH=$REHEARSE${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    ;;
esac
# random graphs of the tests: each convolution of each is measured
export FOOLPROOF_RANDOM_GRAPHS=20
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-} CUDA_CACHE_PATH=$WORK/cuda-cache TORCHINDUCTOR_CACHE_DIR=$WORK/inductor \
  TRITON_CACHE_DIR=$WORK/triton PYTHONUNBUFFERED=1 OUT WORK PACK BIN PYTHON DEVICE NET LARGE ATTACKED SMALL \
  TINY_BATCH TORCH_WORDS PRECISIONS MODES FREE REHEARSE HANG FAIL
read -ra precisions <<< "${PRECISIONS//,/ }"

# The summary as it stands: a line a part, then the ends of what failed, then key lines part by part.
summary() {
  {
    echo "visit $VISIT${REHEARSE:+, a rehearsal with $REHEARSE: small nets, nothing here is a measurement}, $SECONDS s of $LIMIT"
    cat "$WORK/status"
    if [ -s "$WORK/warm" ]; then echo "in the background: $(paste -sd';' "$WORK/warm")"; fi
    echo
    if [ -s "$WORK/ends" ]; then echo 'what went wrong:' && head -c 4000 "$WORK/ends" && echo; fi
    cat "$WORK/keys"
  } > "$WORK/summary"
  timeout 10 "$PYTHON" -c '
import sys
text, most = sys.stdin.buffer.read().decode("utf-8", "replace"), 11500
cut = text if len(text) <= most else text[:most].rsplit("\n", 1)[0] + (
    f"\n(cut here: {len(text) - most} characters more; all of it is in the other files)\n")
sys.stdout.buffer.write(cut.encode())' < "$WORK/summary" > "$OUT/summary.txt" || head -c 11500 "$WORK/summary" > "$OUT/summary.txt"
}

# Runs a function under a time limit.
part() { # FILE NAME LIMIT FUNCTION [ARGUMENTS]
  local file=$OUT/$1 name=$2 limit=$3 raw=$WORK/raw began=$EPOCHREALTIME rc state left
  shift 3
  if [ -n "$ONLY" ] && [[ ! $name =~ ^(${ONLY//,/|}) ]]; then return; fi
  left=$((LIMIT - SECONDS - 6))
  if [ -n "${GROUP_END:-}" ] && [ $left -gt $((GROUP_END - SECONDS)) ]; then left=$((GROUP_END - SECONDS)); fi
  if [ "$limit" -gt $left ]; then limit=$left; fi
  if [ "$limit" -lt 5 ]; then
    echo "$name: left out, no time" | tee -a "$WORK/status"
    return
  fi
  if [[ -n $REHEARSE && -n $HANG && $name = "$HANG"* ]]; then limit=5; fi
  timeout -k 3 "$limit" bash "$0" --part "$name" "$@" > "$raw" 2>&1 < /dev/null &
  pid=$!
  # `timeout` itself waits for ever where a process cannot be killed (a driver that hangs)
  while kill -0 $pid 2> /dev/null; do
    if [ "$(awk "BEGIN {print ($EPOCHREALTIME - $began > $limit + 8)}")" = 1 ]; then break; fi
    sleep 0.1
  done
  if kill -0 $pid 2> /dev/null; then rc=stuck; else wait $pid; rc=$?; fi
  pid=
  case $rc in
    0) state=ok ;;
    124 | 137) state="timed out after $limit s" ;;
    stuck) state="timed out after $limit s and cannot be killed" ;;
    *) state="FAILED, status $rc" ;;
  esac
  if [ "$rc" = 137 ] && [ "$(seconds "$began" | cut -d. -f1)" -lt "$limit" ]; then state='FAILED, killed'; fi
  echo "$name: $state, $(seconds "$began") s" | tee -a "$WORK/status"
  { # into the file, however much it is
    echo "==== $name: $state, $(seconds "$began") s"
    head -c 1000000 "$raw"
    if [ "$(stat -c %s "$raw")" -gt 1000000 ]; then echo && echo '[…]' && tail -c 200000 "$raw"; fi
    echo
  } >> "$file"
  { echo "$name" && grep -a '^=> ' "$raw" | cut -c 4-203 | head -n 45 | sed 's/^/  /'; } >> "$WORK/keys"
  if [ "$rc" != 0 ]; then
    { # the first panic, else the last lines
      echo "$name: $state"
      grep -av '^=> \|^ *[0-9]*: \|^ *at \|^)$\|^ *$\|^stack backtrace\|^note: ' "$raw" > "$WORK/plain"
      if ! grep -a -m 1 -A 2 'panicked at' "$WORK/plain"; then tail -n 6 "$WORK/plain"; fi | cut -c 1-260 | sed 's/^/  /'
    } >> "$WORK/ends"
  fi
  grep -av '^ *$' "$raw" | tail -n 12 | cut -c 1-200
  summary
}

finish() {
  summary
  kill "${warm:-}" "${pid:-}" 2> /dev/null
  printf '\n'
  cat "$OUT/summary.txt"
  find "$WORK" -mindepth 1 -delete 2> /dev/null
  rmdir "$WORK" 2> /dev/null
  exit "$1"
}
trap 'echo "stopped from outside" >> "$WORK/status"; finish 143' TERM INT

touch "$WORK/status" "$WORK/keys" "$WORK/ends" "$WORK/warm"
mkdir "$PACK"
began=$EPOCHREALTIME
timeout -k 3 60 tar -xJf target/cuda-build/gpu.tar.xz -C "$PACK" || echo 'unpacking FAILED' | tee -a "$WORK/status"
echo "unpacked in $(seconds "$began") s" | tee -a "$WORK/warm"

if [ -z "$REHEARSE" ]; then
  timeout -k 3 180 bash "$0" --part warm_up warm_up >> "$WORK/warm" 2>&1 < /dev/null &
  warm=$!
fi

if [ "$VISIT" = A ]; then
  part environment.txt environment 15 environment
  limit=60 # whatever is loaded for the first time
  for p in "${precisions[@]}"; do part tiny.txt "tiny-$p" $limit tiny "$p"; limit=40; done
  GROUP_END=$((SECONDS + 170))
  listed=$(timeout 20 "$BIN/tests" --list 2> /dev/null | sed -n 's/: test$//p')
  if [ -z "$listed" ]; then echo 'tests: FAILED, none is listed' | tee -a "$WORK/status"; fi
  for t in $listed; do part tests.txt "test-$t" 40 one_test "$t"; done
  GROUP_END=''
  for p in "${precisions[@]}"; do part timings.txt "timings-$p" 60 timings "$p"; done
  GROUP_END=$((SECONDS + 90))
  for net in "${OTHERS[@]}"; do
    for p in bf16 f32; do part others.txt "others-${net% *}-$p" 30 timings "$p" "$net"; done
  done
  # leaves time for the sweeps
  GROUP_END=$((LIMIT - 70))
  part torch.txt torch 150 torch "$([ -n "$REHEARSE" ] && echo 60 || echo 135)"
  GROUP_END=''
  for p in f32 bf16; do part sweeps.txt "sweep-$p" 60 sweep "$p"; done
else
  read -ra tests <<< "${TESTS//,/ }"
  for t in ${tests[@]+"${tests[@]}"}; do part tests.txt "test-$t" 40 one_test "$t"; done
  for p in "${precisions[@]}"; do part turns.txt "turns-$p" 45 turns "$p" 30; done
  for net in "${OTHERS[@]}"; do
    for p in bf16 f32; do part turns.txt "turns-${net% *}-$p" 35 turns "$p" 20 "${net% *}"; done
  done
  part profile.txt profile-bf16 75 profile bf16
  part attack.txt attack-prepare 25 prepare_attack
  for p in bf16 f32; do part attack.txt "attack-$p" 45 attack "$p"; done
  part halving.txt halving-bf16 60 halving bf16
  part sanitizer.txt sanitizer 60 sanitizer "$SANITIZE"
fi
for wanted in ${ONLY//,/ } $HANG $FAIL; do
  if ! grep -q "^$wanted" "$WORK/status"; then echo "no part is called $wanted" | tee -a "$WORK/status"; fi
done
finish 0
