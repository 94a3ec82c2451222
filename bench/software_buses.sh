# shellcheck shell=bash
# Processes round software buses, for the scripts beside this one, which source it. They set $program, and have `fail`.

box=$(mktemp -d)
running=()
end_all() {
  ((${#running[@]} == 0)) || kill "${running[@]}" 2>/dev/null || true # one may have ended by itself
  wait
  running=()
}
trap 'end_all; rm -rf "$box"' EXIT

patience_s=10 # a script may have more

await() { # FILE PATTERN COUNT: until so many lines of the file match, for $patience_s seconds at the most
  local attempt
  for ((attempt = 0; attempt < patience_s * 100; attempt++)); do
    (($(grep -c "$2" "$1" || true) < $3)) || return 0
    sleep 0.01
  done
  fail "not in $1 within $patience_s s: $2. It says: $(tail -n 3 "$1")"
}

start() { # LOG COMMAND ...
  local log=$1
  shift
  touch "$log" "$log.out" # there before anyone reads them
  "$@" >"$log.out" 2>"$log" &
  running+=($!)
}

frames() { # COUNT RATE: numbered frames in cansend's notation, each at its time
  python3 -c '
import sys, time
count, rate = int(sys.argv[1]), float(sys.argv[2])
start = time.monotonic()
for number in range(count):
    time.sleep(max(0.0, start + number / rate - time.monotonic()))
    print(f"123#{number:016X}", flush=True)
' "$1" "$2"
}

host() { # LOG BUS: a process that hosts the bus; it does when it shows a frame that another one sent
  local attempt
  start "$box/$1" "$program" dump --can-interface software "$2"
  for ((attempt = 0; attempt < 100; attempt++)); do
    # Until the bus is hosted, it says that nobody else is there.
    "$program" send --can-interface software "$2" 7FF# 2>>"$box/$1"
    [[ ! -s $box/$1.out ]] || return 0
    sleep 0.05
  done
  fail "no process hosts $2: $(cat "$box/$1")"
}
