//! Real servers with their worker processes, under a short load by their own clients, over the container's loopback.

use super::Needs::DockerDebian;
use super::{Case, script};

pub(super) const CASES: &[Case] = &[
    script(
        "servers/redis",
        DockerDebian,
        r#"
        up --user redis $DEBIAN redis-server --dir /tmp --save 1 1 --appendonly yes
        until_ok in_it redis-cli ping
        in_it redis-benchmark -q -n 20000 -c 20 -P 4 -t get,set,lpush >/dev/null
        in_it redis-cli bgsave >/dev/null
        until_ok sh -c "/usr/bin/docker --host $LAB_DOCKER exec $NAME redis-cli info persistence | grep rdb_bgsave_in_progress:0"
        in_it redis-cli bgrewriteaof >/dev/null
        docker stop --time 20 "$NAME" >/dev/null
        same 0 "$(docker inspect --format '{{.State.ExitCode}}' "$NAME")"
        "#,
    ),
    script(
        "servers/nginx",
        DockerDebian,
        r#"
        up $DEBIAN nginx -g 'daemon off;'
        until_ok in_it ab -n 1 http://127.0.0.1/
        says '*Failed requests:        0*' in_it ab -q -n 5000 -c 16 http://127.0.0.1/
        says '*Failed requests:        0*' in_it ab -q -n 5000 -c 16 -k http://127.0.0.1/
        in_it nginx -s reload
        until_ok in_it ab -n 100 http://127.0.0.1/
        docker kill --signal QUIT "$NAME" >/dev/null
        same 0 "$(docker wait "$NAME")"
        "#,
    ),
    script(
        "servers/apache",
        DockerDebian,
        r#"
        up $DEBIAN bash -ec 'mkdir -p /run/apache2; . /etc/apache2/envvars; exec apache2 -D FOREGROUND'
        until_ok in_it ab -n 1 http://127.0.0.1/
        says '*Failed requests:        0*' in_it ab -q -n 3000 -c 16 http://127.0.0.1/
        in_it apachectl graceful
        until_ok in_it ab -n 100 http://127.0.0.1/
        docker stop --time 20 "$NAME" >/dev/null
        "#,
    ),
    script(
        "servers/memcached",
        DockerDebian,
        r#"
        up --user memcache $DEBIAN memcached -m 32 -t 4
        in_it bash -ec '
          until exec 3<>/dev/tcp/127.0.0.1/11211; do sleep 0.1; done 2>/dev/null
          for i in $(seq 2000); do printf "set k%d 0 0 5\r\nhello\r\nget k%d\r\n" $i $i; done >&3 &
          [[ $(head -n 8000 <&3 | grep -c "^hello") = 2000 ]]; wait'
        docker kill --signal TERM "$NAME" >/dev/null
        docker wait "$NAME" >/dev/null
        "#,
    ),
    script(
        "servers/postgresql",
        DockerDebian,
        r#"
        up --shm-size 256m $DEBIAN bash -ec '
          pg_createcluster 15 main -- --no-sync >/dev/null
          exec gosu postgres /usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main \
            -c config_file=/etc/postgresql/15/main/postgresql.conf'
        psql="docker exec --user postgres $NAME psql --quiet --no-align --tuples-only"
        sql() { docker exec --user postgres "$NAME" psql --quiet --no-align --tuples-only --command "$1"; }
        until_ok sql 'select 1'
        pgbench=$(in_it sh -c 'ls /usr/lib/postgresql/*/bin/pgbench')
        docker exec --user postgres "$NAME" $pgbench --initialize --quiet --scale 2 2>/dev/null
        says '*tps = *' docker exec --user postgres "$NAME" $pgbench --client 8 --jobs 2 --time 3 postgres
        # Parallel workers and an autovacuum-like helper.
        sql 'set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; select count(*) from pgbench_accounts;' | grep -qx 200000
        sql 'vacuum analyze'
        docker kill --signal INT "$NAME" >/dev/null
        same 0 "$(docker wait "$NAME")"
        "#,
    ),
];
