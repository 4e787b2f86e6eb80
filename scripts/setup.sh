#!/bin/bash
# Prepares a Debian 12 machine, as root, for Casemate: packages, and the BPF file system.
#
#   scripts/setup.sh [build|demo|test|bench|programs]
#
# Each level has what the one before it has and more. Running it again costs a second. It starts no service.
set -euo pipefail

readonly NEEDED_RUST=1.95

build_packages=(clang-14 gcc libc6-dev libelf-dev make pkg-config zlib1g-dev)
# The demo: one engine, and the small system that its containers run.
demo_packages=(busybox-static ca-certificates docker.io runc)
# The tests: every engine, the root file systems, the tools that cases call, and programs that run in enclaves.
test_packages=(
  bpftool crun curl debootstrap e2fsprogs fuse-overlayfs git golang-go kmod mount musl-tools nginx-light podman procps python3
  qemu-system-x86 redis-server redis-tools slirp4netns sqlite3 tini uidmap util-linux xz-utils
)
bench_packages=(apache2-utils wrk)
# More programs that run in enclaves, and their clients.
programs_packages=(
  apache2 default-jdk-headless libmemcached-tools libpython3.11-testsuite memcached nodejs openssl postgresql-15 stress-ng
)

say() { echo "setup: $*"; }
die() {
  echo "setup: $*" >&2
  exit 1
}

check_root() {
  [[ $EUID == 0 ]] || die "must run as root to $1; try: sudo $0 $level"
}

check_system() {
  command -v apt-get >/dev/null || die 'apt-get is missing: this script knows Debian 12; elsewhere install the packages in it by hand'
  [[ -r /sys/kernel/btf/vmlinux ]] ||
    die 'the kernel has no BTF (/sys/kernel/btf/vmlinux): boot one built with CONFIG_DEBUG_INFO_BTF=y, as Debian 12 does'
}

check_rust() {
  local hint="install it with rustup: https://rustup.rs, then: rustup toolchain install stable && rustup default stable"
  # sudo often leaves a rustup installation out of PATH.
  [[ ! -d ${CARGO_HOME:-$HOME/.cargo}/bin ]] || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  local tool version
  for tool in cargo rustc; do
    command -v $tool >/dev/null || die "$tool is missing, version $NEEDED_RUST or later is needed; $hint"
    version=$($tool --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$NEEDED_RUST" "$version" | sort --version-sort | head -n 1) == "$NEEDED_RUST" ]] ||
      die "$tool is version $version, $NEEDED_RUST or later is needed; $hint"
  done
  say "Rust: $(rustc --version)"
}

# Prints those of its arguments that are not installed.
missing_packages() {
  local package
  for package; do
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

# Package scripts ask policy-rc.d before they start a service; 101 means no. One that is there already stays.
forbid_services() {
  local policy=/usr/sbin/policy-rc.d
  [[ ! -e $policy ]] || return 0
  trap "rm -f $policy" EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    say "packages: all $# are there"
    return
  fi
  check_root "install ${missing[*]}"
  say "packages: installing ${missing[*]}"
  forbid_services
  export DEBIAN_FRONTEND=noninteractive
  apt-get --quiet update || say 'packages: some lists could not be fetched, going on with what there is'
  apt-get --quiet install --yes --no-install-recommends "${missing[@]}"
}

mount_bpffs() {
  if [[ $(stat --file-system --format %T /sys/fs/bpf 2>/dev/null) == bpf_fs ]]; then
    say 'BPF file system: mounted on /sys/fs/bpf'
  else
    mount -t bpf bpf /sys/fs/bpf || die 'cannot mount the BPF file system on /sys/fs/bpf: is the kernel built with CONFIG_BPF_SYSCALL?'
    say 'BPF file system: mounted it on /sys/fs/bpf'
  fi
}

level=${1:-test}
packages=("${build_packages[@]}")
case $level in
  build) ;;
  demo) packages+=("${demo_packages[@]}") ;;
  test) packages+=("${demo_packages[@]}" "${test_packages[@]}") ;;
  bench) packages+=("${demo_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}") ;;
  programs)
    packages+=("${demo_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}" "${programs_packages[@]}")
    ;;
  *) die "unknown level '$level': use build, demo, test, bench or programs" ;;
esac

# A build needs root only for packages that are missing.
[[ $level == build ]] || check_root 'load BPF programs and run containers'
check_system
check_rust
install_packages "${packages[@]}"
[[ $level == build ]] || mount_bpffs
say "ready for: $level"
