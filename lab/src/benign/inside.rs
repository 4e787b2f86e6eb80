//! What programs do inside their container: users, namespaces, mounts, sandboxes, containers in containers, packages.

use super::Needs::{Docker, DockerDebian};
use super::{Case, script};

pub(super) const CASES: &[Case] = &[
    script(
        "inside/switch-user",
        DockerDebian,
        r#"
        up $DEBIAN sleep 1000
        in_it sh -c 'echo "user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/user'
        same 1000 "$(in_it su user -c 'id -u')"
        same 1000 "$(in_it su --login user -c 'id -u; exit')"
        same 1000 "$(in_it gosu user id -u)"
        same 0 "$(in_it su user -c 'sudo id -u')"
        same 0 "$(docker exec --user user "$NAME" sudo id -u)"
        # A setuid program of one's own, and one with file capabilities.
        in_it sh -c 'cp /usr/bin/id /usr/local/bin/sid; chmod u+s /usr/local/bin/sid'
        says '*euid=0*' docker exec --user user "$NAME" /usr/local/bin/sid
        in_it sh -c 'cp /bin/cat /usr/local/bin/ccat; setcap cap_dac_override+ep /usr/local/bin/ccat'
        says '*root:*' docker exec --user user "$NAME" /usr/local/bin/ccat /etc/shadow
        "#,
    ),
    script(
        "inside/drop-capabilities",
        DockerDebian,
        r#"
        up $DEBIAN sleep 1000
        says '*CapEff:?0000000000000000*' in_it setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all cat /proc/self/status
        says '*NoNewPrivs:?1*' in_it setpriv --no-new-privs cat /proc/self/status
        in_it capsh --drop=cap_chown,cap_kill --user=user -- -c 'id -u'
        in_it setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=+net_bind_service --ambient-caps=+net_bind_service cat /proc/self/status
        docker run --rm --name "$NAME-2" -v "$PROBE:/probe:ro" $DEBIAN /probe identity
        "#,
    ),
    script(
        "inside/seccomp",
        Docker,
        r#"
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" $BUSYBOX /probe seccomp
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" --security-opt seccomp=unconfined $BUSYBOX /probe seccomp
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" --user 1000 $BUSYBOX /probe seccomp
        "#,
    ),
    script(
        "inside/debugger",
        Docker,
        r#"
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" --cap-add SYS_PTRACE $BUSYBOX /probe debug
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" --cap-add SYS_PTRACE --pid=host $BUSYBOX /probe debug
        "#,
    ),
    script(
        "inside/descriptors",
        Docker,
        r#"
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" $BUSYBOX /probe descriptors
        docker run --rm --name "$NAME" -v "$PROBE:/probe:ro" $PRIVILEGED --tmpfs /t $BUSYBOX \
          sh -c 'echo >/t/file; /probe handle'
        "#,
    ),
    script(
        "inside/unshare",
        DockerDebian,
        r#"
        up $PRIVILEGED -v "$PROBE:/probe:ro" $DEBIAN sleep 1000
        for flag in --mount --uts --ipc --net '--pid --fork --mount-proc' --cgroup --user '--user --map-root-user --mount' '--time --boottime 100'; do
          in_it unshare $flag sh -c 'true; ls /proc/self/ns >/dev/null'
        done
        in_it unshare --mount --uts --ipc --net --pid --cgroup --fork --mount-proc sh -c 'mount -t tmpfs t /mnt; hostname inner; ps >/dev/null; umount /mnt'
        same 0 "$(docker exec --user user "$NAME" unshare --user --map-root-user --mount --net --pid --fork id -u)"
        in_it /probe namespaces
        # One of its own, kept by a mount, joined again: what `ip netns` does.
        in_it sh -ec 'touch /run/n; unshare --net=/run/n true; nsenter --net=/run/n cat /proc/net/dev >/dev/null; umount /run/n'
        in_it sh -ec 'unshare --mount --net sleep 5 & sleep 0.2; nsenter --target $! --mount --net ls / >/dev/null; kill $!'
        "#,
    ),
    script(
        "inside/bubblewrap",
        DockerDebian,
        r#"
        # Masked paths in /proc would keep a user namespace from mounting its own.
        up $PRIVILEGED --security-opt systempaths=unconfined $DEBIAN sleep 1000
        sandbox="bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp"
        # The parent must live: `docker exec` itself leaves at once, and --die-with-parent would take that at its word.
        in_it sh -c "$sandbox --unshare-all --die-with-parent sh -c 'echo x >/tmp/x; ps >/dev/null'; exit \$?"
        docker exec --user user "$NAME" $sandbox --unshare-all --uid 0 --gid 0 sh -c 'id -u; sh -c "exit 0"'
        in_it $sandbox --unshare-pid --new-session bwrap --ro-bind / / --unshare-net true
        "#,
    ),
    script(
        "inside/mounts",
        DockerDebian,
        r#"
        up $PRIVILEGED --tmpfs /w $DEBIAN sleep 1000
        in_it sh -ec '
          mkdir -p /w/t /w/b /w/lower /w/upper /w/work /w/all /w/new
          mount -t tmpfs none /w/t; echo x >/w/t/x
          mount --bind /w/t /w/b; cat /w/b/x >/dev/null; mount -o remount,ro,bind /w/b; ! touch /w/b/y 2>/dev/null
          echo l >/w/lower/f; mount -t overlay none -o lowerdir=/w/lower,upperdir=/w/upper,workdir=/w/work /w/all
          echo u >>/w/all/f; rm /w/all/f; umount /w/all
          mount -t proc none /w/new; cat /w/new/self/status >/dev/null; umount /w/new
          mount --move /w/t /w/new; cat /w/new/x >/dev/null
          umount -l /w/new; umount -l /w/b'
        "#,
    ),
    script(
        "inside/chroot-pivot",
        DockerDebian,
        r#"
        up $PRIVILEGED --tmpfs /w:exec $DEBIAN sleep 1000
        docker cp "$BUSYBOX_ROOT" "$NAME:/bb"
        in_it sh -ec 'cp -a /bb /w/root; chroot /w/root /bin/sh -c "cd /etc; cat passwd >/dev/null; echo y >/tmp/y; cat /tmp/y" >/dev/null'
        in_it unshare --mount --pid --fork sh -ec '
          mount --bind /w/root /w/root; cd /w/root; mkdir -p old; mount -t proc p proc
          pivot_root . old
          exec /bin/chroot . /bin/sh -ec "cd /; umount -l /old; ls / >/dev/null; ps >/dev/null; echo in >/tmp/in; sh -c true"'
        in_it cat /w/root/tmp/in
        "#,
    ),
    script(
        "inside/sub-cgroup",
        Docker,
        r#"
        [[ -d /sys/fs/cgroup/pids || -f /sys/fs/cgroup/cgroup.controllers ]] || skip 'no cgroup tree that this case knows'
        up $PRIVILEGED --cgroupns=private $BUSYBOX sleep 1000
        # As systemd and Docker-in-Docker do: a cgroup below one's own, and a task moved there and back.
        in_it sh -ec '
          tree=/sys/fs/cgroup; [ -d $tree/pids ] && tree=$tree/pids
          mount -o remount,bind,rw $tree
          mkdir $tree/sub
          sleep 1000 & echo $! >$tree/sub/cgroup.procs
          grep -q sub /proc/$!/cgroup
          echo $! >$tree/cgroup.procs; kill $!; wait $! || true
          rmdir $tree/sub'
        "#,
    ),
    script(
        "inside/nested-runc",
        DockerDebian,
        r#"
        up $PRIVILEGED --cgroupns=private --tmpfs /run:exec --tmpfs /w:exec $DEBIAN sleep 1000
        docker cp "$BUSYBOX_ROOT" "$NAME:/bb"
        in_it sh -ec '
          for tree in /sys/fs/cgroup/*; do mount -o remount,bind,rw $tree 2>/dev/null || true; done
          mount -o remount,bind,rw /sys/fs/cgroup
          mkdir /w/bundle; cp -a /bb /w/bundle/rootfs; cd /w/bundle; runc spec
          sed -i "s/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"sleep\", \"1000\"/" config.json
          runc run --detach inner </dev/null >/dev/null 2>&1
          runc exec inner id; runc exec inner ps
          runc pause inner; runc resume inner; runc kill inner KILL
          until runc delete inner; do sleep 0.1; done' >out 2>&1 || fail "$(cat out)"
        grep -q 'uid=0' out
        "#,
    ),
    script(
        "inside/apt-get",
        DockerDebian,
        r#"
        docker run --rm --name "$NAME" --net=host $DEBIAN sh -ec '
          apt-get -q update
          DEBIAN_FRONTEND=noninteractive apt-get -q install --yes --no-install-recommends less file
          less --version; file /bin/sh
          dpkg --verify less
          apt-get -q purge --yes less' >out 2>&1 || fail "$(tail -n 20 out)"
        "#,
    ),
    script(
        "inside/core-dump",
        Docker,
        r#"
        for flag in '' --pid=host --user=1000; do
          docker run --rm --name "$NAME" $flag --ulimit core=-1 -w /tmp -v "$PROBE:/probe:ro" $BUSYBOX \
            sh -c '/probe core; [ $? = 134 ] || exit 1; ls; ps >/dev/null' >out
          # A plain pattern leaves the core beside the program; a pipe or a path hands it to the host.
          case $(cat /proc/sys/kernel/core_pattern) in core) grep -q ^core out ;; esac
        done
        "#,
    ),
    script(
        "inside/processes",
        Docker,
        r#"
        docker run --rm --name "$NAME" $BUSYBOX sh -c '
          for i in $(seq 300); do sh -c "exit 0" & done; wait
          seq 1000 | xargs -n 10 -P 8 echo >/dev/null
          yes | head -c 1000000 | md5sum >/dev/null
          setsid sh -c "sleep 0.2" & nohup true; wait; cat /proc/*/status /proc/*/maps >/dev/null 2>&1; true'
        "#,
    ),
];
