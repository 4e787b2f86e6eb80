//! Docker's everyday commands and every way in which its containers share namespaces.

use super::Needs::{Docker, DockerDebian};
use super::{Case, script};

pub(super) const CASES: &[Case] = &[
    script(
        "docker/exec",
        Docker,
        r#"
        up $BUSYBOX sleep 1000
        same 0 "$(in_it id -u)"
        same 1000 "$(docker exec --user user --workdir /tmp --env A=b "$NAME" id -u)"
        says '*hello*' docker exec --tty "$NAME" sh -c 'echo hello; ls /proc/self/ns'
        docker exec --detach "$NAME" sh -c 'echo late >/tmp/late'
        until_ok in_it grep late /tmp/late
        for i in $(seq 24); do in_it sh -c 'ls -l /proc/1/root/ >/dev/null; exit 0' & pids+=" $!"; done
        for pid in $pids; do wait $pid; done
        "#,
    ),
    script(
        "docker/exec-caps",
        Docker,
        r#"
        up $PRIVILEGED $BUSYBOX sleep 1000
        in_it sh -c 'mkdir /t && mount -t tmpfs t /t && echo x >/t/x && umount /t'
        in_it chroot / id
        "#,
    ),
    script(
        "docker/exec-privileged",
        Docker,
        r#"
        grep -q '^CapBnd:.*[13579bdf]......$' /proc/self/status ||
          skip "the host's root lacks CAP_SYS_RESOURCE, so exec --privileged fails"
        up $BUSYBOX sleep 1000
        docker exec --privileged "$NAME" sh -c 'mkdir /t && mount -t tmpfs t /t && umount /t'
        "#,
    ),
    script(
        "docker/init",
        Docker,
        r#"
        says '*docker-init*' docker run --rm --init --name "$NAME" $BUSYBOX sh -c '(sleep 0.1 &); sleep 0.3; cat /proc/1/cmdline'
        up --init $BUSYBOX sleep 1000
        docker stop --time 20 "$NAME" >/dev/null
        "#,
    ),
    script(
        "docker/cp",
        Docker,
        r#"
        up $BUSYBOX sleep 1000
        head -c 100000 /dev/urandom >a
        docker cp a "$NAME:/tmp/a"
        in_it cp /tmp/a /tmp/b
        docker cp "$NAME:/tmp/b" b
        cmp a b
        docker kill "$NAME" >/dev/null
        docker cp "$NAME:/tmp/b" c
        docker cp c "$NAME:/etc/c"
        cmp a c
        "#,
    ),
    script(
        "docker/pause",
        Docker,
        r#"
        up $BUSYBOX sh -c 'while :; do date >/tmp/now; sleep 0.05; done'
        for i in 1 2 3; do
          docker pause "$NAME" >/dev/null
          same true "$(docker inspect --format '{{.State.Paused}}' "$NAME")"
          docker unpause "$NAME" >/dev/null
          until_ok in_it test -s /tmp/now
        done
        "#,
    ),
    script(
        "docker/restart",
        Docker,
        r#"
        up $BUSYBOX sh -c 'echo x >>/count; exec sleep 1000'
        for i in 1 2 3; do docker restart --time 0 "$NAME" >/dev/null; done
        until_ok sh -c "[ \$(/usr/bin/docker --host $LAB_DOCKER exec $NAME grep -c x /count) = 4 ]"
        docker run --detach --name "$NAME-again" --restart on-failure:3 $BUSYBOX false >/dev/null
        until_ok sh -c "[ \$(/usr/bin/docker --host $LAB_DOCKER inspect --format '{{.RestartCount}}' $NAME-again) = 3 ]"
        "#,
    ),
    script(
        "docker/commit",
        Docker,
        r#"
        up $BUSYBOX sh -c 'echo kept >/kept; exec sleep 1000'
        until_ok in_it test -s /kept
        image=casemate-lab:commit
        docker commit "$NAME" $image >/dev/null
        same kept "$(docker run --rm --name "$NAME-2" $image cat /kept)"
        says '*kept*' docker diff "$NAME"
        docker export "$NAME" | tar --list >list
        grep -q '^kept$' list
        docker rmi $image >/dev/null
        "#,
    ),
    script(
        "docker/build",
        Docker,
        r#"
        cat >Dockerfile <<END
FROM $BUSYBOX
COPY Dockerfile /d
RUN echo built >/built && chown user /built
USER user
RUN id -u >/tmp/uid
CMD cat /built /tmp/uid
END
        DOCKER_BUILDKIT=0 docker build --quiet --no-cache --network none --tag casemate-lab:built . >/dev/null
        says 'built*1000' docker run --rm --name "$NAME" casemate-lab:built
        docker rmi casemate-lab:built >/dev/null
        "#,
    ),
    script(
        "docker/health",
        Docker,
        r#"
        up --health-cmd 'test -e /tmp/ok && cat /proc/1/status' --health-interval 0.2s --health-retries 100 \
          $BUSYBOX sh -c 'sleep 0.5; touch /tmp/ok; exec sleep 1000'
        until_ok sh -c "/usr/bin/docker --host $LAB_DOCKER inspect --format '{{.State.Health.Status}}' $NAME | grep -x healthy"
        "#,
    ),
    script(
        "docker/observe",
        Docker,
        r#"
        up --cpus 1 --memory 64m $BUSYBOX sh -c 'echo line; exec sleep 1000'
        until_ok sh -c "/usr/bin/docker --host $LAB_DOCKER logs $NAME | grep line"
        docker top "$NAME" >/dev/null
        docker stats --no-stream "$NAME" >/dev/null
        docker update --memory 96m --memory-swap 96m "$NAME" >/dev/null
        docker rename "$NAME" "$NAME-renamed"
        docker kill --signal KILL "$NAME-renamed" >/dev/null
        same 137 "$(docker wait "$NAME-renamed")"
        "#,
    ),
    script(
        "docker/oom",
        Docker,
        r#"
        status=0
        docker run --name "$NAME" --memory 24m --memory-swap 24m $BUSYBOX tail /dev/zero || status=$?
        # Not .State.OOMKilled: on a busy machine Docker hears of the end before it hears why.
        same 137 "$status"
        "#,
    ),
    script(
        "docker/mounts",
        Docker,
        r#"
        mkdir host; echo secret >host/in; echo file >one
        docker run --rm --name "$NAME" -v "$WORK/host:/h" -v "$WORK/one:/one" -v "$NAME:/v" --tmpfs /t --read-only $BUSYBOX \
          sh -ec 'cat /h/in >/h/out; echo more >>/one; echo x >/v/x; echo x >/t/x; cd /h; mv out out2; mkfifo f; ! touch /no 2>/dev/null'
        same secret "$(cat host/out2)"
        same 'file more' "$(echo $(cat one))"
        docker run --rm --name "$NAME" -v "$NAME:/v" -v "$WORK/host:/h:ro,rprivate" $BUSYBOX cat /v/x /h/in
        docker volume rm "$NAME" >/dev/null
        "#,
    ),
    script(
        "docker/user",
        Docker,
        r#"
        same 1000 "$(docker run --rm --name "$NAME" --user 1000:1000 --cap-drop ALL --security-opt no-new-privileges $BUSYBOX id -u)"
        says '*NoNewPrivs:?1*' docker run --rm --name "$NAME" --security-opt no-new-privileges $BUSYBOX cat /proc/self/status
        docker run --rm --name "$NAME" --security-opt seccomp=unconfined --hostname h $BUSYBOX grep -qx h /proc/sys/kernel/hostname
        "#,
    ),
    script(
        "docker/host-namespaces",
        Docker,
        r#"
        for flag in --net=host --pid=host --ipc=host --uts=host '--net=host --pid=host --ipc=host --uts=host' '--cgroupns=host' '--cgroupns=private'; do
          up $flag $BUSYBOX sh -c 'ps >/dev/null; hostname >/dev/null; cat /proc/net/dev >/dev/null; ipcs >/dev/null; sh -c "exit 0"; exec sleep 1000'
          in_it sh -c 'ps >/dev/null; exec true'
          docker rm --force "$NAME" >/dev/null
        done
        "#,
    ),
    script(
        "docker/host-pid-kill",
        Docker,
        r#"
        up --pid=host $BUSYBOX sh -c 'sleep 1000 & kill $!; wait; for p in /proc/[0-9]*; do cat $p/stat $p/cmdline; done >/dev/null 2>&1; exec sleep 1000'
        until_ok in_it sh -c 'ps | grep -q "[s]leep 1000"'
        docker stop --time 1 "$NAME" >/dev/null
        "#,
    ),
    script(
        "docker/container-namespaces",
        Docker,
        r#"
        up --ipc=shareable $BUSYBOX sh -c 'echo hi >/tmp/f; exec nc -l -p 80 -e cat /tmp/f'
        other=("--net=container:$NAME" "--pid=container:$NAME" "--ipc=container:$NAME")
        for flag in "${other[@]}" "${other[*]}"; do
          docker run --rm --name "$NAME-guest" $flag $BUSYBOX sh -c 'ps >/dev/null; ipcs >/dev/null; cat /proc/1/status >/dev/null; exec true'
        done
        until_ok in_it sh -c 'netstat -ltn | grep -q :80'
        same hi "$(docker run --rm --name "$NAME-guest" --net="container:$NAME" $BUSYBOX nc 127.0.0.1 80)"
        # The sidecar of a debugging session: joins pid, looks around in /proc, and outlives nothing.
        docker run --detach --name "$NAME-main" $BUSYBOX sleep 1000 >/dev/null
        docker run --rm --name "$NAME-side" --pid="container:$NAME-main" --cap-add SYS_PTRACE $BUSYBOX sh -c 'ps; ls -l /proc/1/exe; kill -0 1'
        "#,
    ),
    script(
        "docker/admin-joins",
        DockerDebian,
        r#"
        up $DEBIAN sleep 1000
        pid=$(docker inspect --format '{{.State.Pid}}' "$NAME")
        says '*sleep*' nsenter --target "$pid" --all cat /proc/1/cmdline
        nsenter --target "$pid" --net --uts hostname >/dev/null
        nsenter --target "$pid" --mount --pid --root --wd ls / >/dev/null
        ls "/proc/$pid/root/etc" >/dev/null
        until_ok in_it true
        "#,
    ),
];
