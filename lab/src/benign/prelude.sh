set -euo pipefail

docker() { /usr/bin/docker --host "$LAB_DOCKER" "$@"; }

# As much privilege as Docker can give on hosts that lack CAP_SYS_RESOURCE, where --privileged fails.
PRIVILEGED="--cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined"

skip() { echo "$*"; exit 77; }
fail() { echo "$*" >&2; exit 1; }

# until_ok COMMAND...: repeats it until it succeeds, 60 s at most.
until_ok() {
  local end=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "gave up waiting for: $*"
    sleep 0.05
  done
}

# same WANT GOT
same() { [[ $1 == "$2" ]] || fail "expected '$1', got '$2'"; }

# says PATTERN COMMAND...: the command succeeds and its output matches.
says() {
  local pattern=$1 out
  shift
  out=$("$@" 2>&1) || fail "failed: $*: $out"
  [[ $out == $pattern ]] || fail "'$*' did not say '$pattern': $out"
}

# up [FLAG...] IMAGE COMMAND...: a detached container called $NAME.
up() { docker run --detach --name "$NAME" "$@" >/dev/null; }
in_it() { docker exec "$NAME" "$@"; }

remove_mine() {
  local ids
  if [[ -n ${LAB_DOCKER:-} ]]; then
    ids=$(docker ps --all --quiet --filter "name=^/$NAME")
    [[ -z $ids ]] || docker rm --force $ids >/dev/null
  fi
  case $NAME in lab-podman-*)
    podman pod rm --force --ignore "$NAME" >/dev/null 2>&1 || true
    ids=$(podman ps --all --quiet --filter "name=^$NAME")
    # Podman 4.3 removes while conmon's own clean-up still has the container's shm mounted, and fails with "busy".
    [[ -z $ids ]] || until_ok podman rm --force --ignore --time 0 $ids
  esac
}
trap remove_mine EXIT
remove_mine
