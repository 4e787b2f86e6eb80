//! Podman: the same day, pods that share namespaces, user namespaces, and a rootless user.

use super::Needs::{Podman, PodmanDebian};
use super::{Case, script};

pub(super) const CASES: &[Case] = &[
    script(
        "podman/run-exec",
        Podman,
        r#"
        podman run --detach --name "$NAME" --network none --init=false $BUSYBOX sleep 1000 >/dev/null
        same 0 "$(podman exec "$NAME" id -u)"
        same 1000 "$(podman exec --user user "$NAME" id -u)"
        podman exec --privileged "$NAME" true || echo 'exec --privileged needs CAP_SYS_RESOURCE'
        echo text >a
        podman cp a "$NAME:/tmp/a"
        podman cp "$NAME:/tmp/a" b
        cmp a b
        podman pause "$NAME" >/dev/null
        podman unpause "$NAME" >/dev/null
        podman top "$NAME" >/dev/null
        podman stats --no-stream "$NAME" >/dev/null
        podman restart --time 0 "$NAME" >/dev/null
        podman commit --quiet "$NAME" casemate-lab:podman-commit >/dev/null
        podman run --rm --name "$NAME-2" --network none casemate-lab:podman-commit cat /etc/passwd >/dev/null
        podman rmi casemate-lab:podman-commit >/dev/null
        podman stop --time 0 "$NAME" >/dev/null
        "#,
    ),
    script(
        "podman/health",
        Podman,
        r#"
        podman run --detach --name "$NAME" --network none --health-interval disable --health-cmd 'cat /proc/1/status' \
          $BUSYBOX sleep 1000 >/dev/null
        for i in 1 2 3; do podman healthcheck run "$NAME"; done
        "#,
    ),
    script(
        "podman/host-namespaces",
        Podman,
        r#"
        for flag in --network=host --pid=host --ipc=host --uts=host '--network=host --pid=host --ipc=host --uts=host'; do
          podman run --rm --name "$NAME" $flag $BUSYBOX sh -c 'ps >/dev/null; hostname >/dev/null; sh -c true; exec true'
        done
        "#,
    ),
    script(
        "podman/container-namespaces",
        Podman,
        r#"
        podman run --detach --name "$NAME" --network none --ipc shareable $BUSYBOX sleep 1000 >/dev/null
        for flag in "--network=container:$NAME" "--network=none --pid=container:$NAME" "--network=container:$NAME --pid=container:$NAME --ipc=container:$NAME --uts=container:$NAME"; do
          podman run --rm --name "$NAME-guest" $flag $BUSYBOX sh -c 'ps >/dev/null; cat /proc/1/status >/dev/null; exec true'
        done
        "#,
    ),
    script(
        "podman/pod",
        Podman,
        r#"
        for share in ipc,net,uts ipc,net,uts,pid; do
          podman pod create --name "$NAME" --network none --share $share \
            --infra-image $BUSYBOX --infra-command '/bin/sleep 1000' >/dev/null
          podman run --detach --pod "$NAME" --name "$NAME-server" $BUSYBOX sh -c 'echo hi >/tmp/f; exec nc -ll -p 8080 -e cat /tmp/f' >/dev/null
          until_ok podman exec "$NAME-server" sh -c 'netstat -ltn | grep -q 8080'
          same hi "$(podman run --rm --pod "$NAME" --name "$NAME-client" $BUSYBOX nc 127.0.0.1 8080)"
          podman exec "$NAME-server" sh -c 'ps >/dev/null; hostname >/dev/null'
          podman pod pause "$NAME" >/dev/null
          podman pod unpause "$NAME" >/dev/null
          podman pod rm --force --time 0 "$NAME" >/dev/null
        done
        "#,
    ),
    script(
        "podman/user-namespace",
        Podman,
        r#"
        podman run --detach --name "$NAME" --network none --uidmap 0:100000:5000 --gidmap 0:100000:5000 $BUSYBOX sleep 1000 >/dev/null
        same 0 "$(podman exec "$NAME" id -u)"
        says '*100000*' podman exec "$NAME" cat /proc/self/uid_map
        podman exec "$NAME" su user -c 'id -u' >/dev/null
        "#,
    ),
    script(
        "podman/redis",
        PodmanDebian,
        r#"
        podman run --detach --name "$NAME" --network none $DEBIAN redis-server --save '' >/dev/null
        until_ok podman exec "$NAME" redis-cli ping
        podman exec "$NAME" redis-benchmark -q -n 20000 -c 20 -t get,set >/dev/null
        podman stop --time 20 "$NAME" >/dev/null
        "#,
    ),
    script(
        "podman/rootless",
        Podman,
        r#"
        user=casemate-lab
        id $user >/dev/null 2>&1 || useradd --create-home --shell /bin/bash $user
        grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 $user
        uid=$(id -u $user)
        run=/run/user/$uid
        # What a login would make; removed again, and every process of the user ended, whatever happens.
        install -d -m 700 -o $user -g $user "$run"
        over() {
          rootless podman pod rm --force --all --time 0 >/dev/null 2>&1 || true
          rootless podman rm --force --all --time 0 >/dev/null 2>&1 || true
          loginctl terminate-user $user 2>/dev/null || true
          until_ok sh -c "ps -u $user -o pid= | xargs -r kill -KILL; ! ps -u $user -o pid="
          umount "$run" 2>/dev/null || true
          rm -rf "$run"
        }
        trap over EXIT
        cat >"/home/$user/containers.conf" <<END
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
        rootless() {
          setpriv --reuid $user --regid $user --init-groups --inh-caps=-all env -i HOME=/home/$user USER=$user XDG_RUNTIME_DIR="$run" \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin CONTAINERS_CONF=/home/$user/containers.conf sh -c 'cd; exec "$@"' sh "$@"
        }
        rootless podman info >info 2>&1 || skip "rootless Podman does not start here: $(tail -n 1 info)"
        tar --directory "$BUSYBOX_ROOT" --numeric-owner --create . >image.tar
        chmod 711 .. . ; chmod 644 image.tar
        rootless podman import --quiet - $BUSYBOX <image.tar >/dev/null 2>err || skip "rootless Podman cannot import: $(tail -n 1 err)"
        rootless podman run --rm --network none $BUSYBOX true 2>err || skip "rootless Podman cannot run: $(tail -n 1 err)"
        same 0 "$(rootless podman run --rm --network none $BUSYBOX id -u)"
        rootless podman run --detach --name r --network none --pids-limit 0 $BUSYBOX sleep 1000 >/dev/null
        rootless podman exec r sh -c 'id -u; su user -c id; ps' >/dev/null
        rootless podman exec --user user r id -u >/dev/null
        rootless podman run --rm --network none --userns keep-id $BUSYBOX id -u | grep -qx "$uid"
        rootless podman run --rm --network host $BUSYBOX true
        if setpriv --reuid $user --clear-groups test -w /dev/net/tun; then rootless podman run --rm --network slirp4netns $BUSYBOX true; fi
        rootless podman unshare true
        rootless podman rm --force --time 0 r >/dev/null
        "#,
    ),
];
