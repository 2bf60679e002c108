# What the control scripts of the private instances share: ports, process ids, readiness.

# Below the range that outgoing connections are given, so that nobody takes a port in between.
PORT_FIRST=20000
PORT_LAST=32000

# free_port TAKEN...: a port of the loopback interface that nobody listens on.
free_port() {
  local port
  while :; do
    port=$((PORT_FIRST + (RANDOM * 32768 + RANDOM) % (PORT_LAST - PORT_FIRST)))
    case " $* " in *" $port "*) continue ;; esac
    listening "$port" || break
  done
  echo "$port"
}

# listening PORT
listening() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# read_pid FILE: a process id that was written down; nothing when there is none.
read_pid() {
  local pid=
  [ -s "$1" ] && read -r pid <"$1"
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  echo "$pid"
}

# alive PID: whether it runs; one that is dead and not yet waited for does not.
alive() {
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
  [ -n "$state" ] && [ "$state" != Z ] && [ "$state" != X ]
}

# until_true SECONDS COMMAND...: asks until it holds; fails when it does not in time.
until_true() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.1
  done
}

gone() {
  ! alive "$1"
}

# until_ready SECONDS PID_FILE LOG PROBE: waits for a node that was just started, and tells its
# last words when it ends or takes too long.
until_ready() {
  local limit=$1 pid_file=$2 log=$3 probe=$4 pid
  local until=$((SECONDS + limit))
  until_true 10 read_pid "$pid_file" >/dev/null
  pid=$(read_pid "$pid_file") || pid=0
  while ! "$probe"; do
    if ! alive "$pid" || [ "$SECONDS" -ge "$until" ]; then
      echo "$0: not ready after ${limit}s or ended; the end of $log:" >&2
      tail -n 30 "$log" >&2
      return 1
    fi
    sleep 0.2
  done
}
