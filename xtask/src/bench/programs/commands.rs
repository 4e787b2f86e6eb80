//! Programs that run to their end.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::entry::{Outcome, Program, Runner};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin/postgres";
const INITDB: &str = "/usr/lib/postgresql/15/bin/initdb";
const JAVA: &str = "/usr/lib/jvm/java-17-openjdk-amd64/bin/java";
const CC1: &str = "/usr/lib/gcc/x86_64-linux-gnu/12/cc1";

/// Programs that are given with the suite.
const JAVA_SOURCE: &str = include_str!("sources/Threads.java");
const NODE_SOURCE: &str = include_str!("sources/workers.js");
const GO_SOURCE: &str = include_str!("sources/goroutines.go");
const C_SOURCE: &str = include_str!("sources/primes.c");
const SQL: &str = include_str!("sources/notes.sql");
const SHELL: &str = include_str!("sources/pipelines.sh");
const BASH: &str = include_str!("sources/words.bash");

macro_rules! programs {
    ($($name:literal, $what:literal, [$($needs:expr),*], $slow:literal, $fails:expr, $run:expr;)*) => {
        /// All of them.
        pub(crate) fn all() -> Vec<Program> {
            vec![$(Program { name: $name, what: $what, needs: &[$($needs),*], slow: $slow, fails: $fails, run: $run }),*]
        }
    };
}

programs! {
    "sqlite3", "a script with a file database in WAL mode", ["/usr/bin/sqlite3"], false, None,
        |runner| runner.compare(&["/usr/bin/sqlite3", "notes.db"], SQL, nothing, same);
    "postgres", "`postgres --single`: tables, an index, a join", [POSTGRES], false, None, postgres;
    "go", "1,000 goroutines, one that never yields (SIGURG)", ["/usr/bin/go"], false, None, go;
    "go http", "an HTTP server and its client in one process", ["/usr/bin/go"], false, None, go_http;
    "node", "JavaScript with four worker threads", ["/usr/bin/node"], false, None,
        |runner| runner.compare(&["/usr/bin/node", "workers.js"], "", file("workers.js", NODE_SOURCE), same);
    "openjdk", "50 threads on one monitor, a parallel stream", [JAVA, "/usr/bin/javac"], false, None, java;
    "python3", "a script: json, hashes, threads, subprocesses", ["/usr/bin/python3"], false, None,
        |runner| runner.compare(&["/usr/bin/python3", "-c", include_str!("sources/script.py")], "", nothing, same);
    "busybox sh", "a script with pipelines", ["/bin/busybox"], false, Some("what the last applet of a pipeline prints is missing"),
        |runner| runner.compare(&["/bin/busybox", "sh", "script.sh"], "", file("script.sh", SHELL), same);
    "bash", "a script: arrays, substitutions, traps, pipelines", ["/bin/bash"], false, None,
        |runner| runner.compare(&["/bin/bash", "--norc", "words.bash"], "", file("words.bash", BASH), same);
    "git", "`git clone` of a local repository", ["/usr/bin/git"], false, None, git;
    "gcc", "`gcc -O2` of a file: driver, compiler, assembler, linker", ["/usr/bin/gcc"], false, Some("the linker misses what the assembler wrote to /tmp, which is in memory"), gcc;
    "cc1", "gcc's compiler alone", [CC1], false, None,
        |runner| runner.compare(&[CC1, "-quiet", "-O2", "-o", "-", "primes.c"], "", file("primes.c", C_SOURCE), same);
    "openssl", "a key, a certificate, its verification", ["/usr/bin/openssl"], false, None, openssl;
    "stress-ng pthread", "`--pthread 2 --verify`", [STRESS], false, Some("its workers count in memory that they share; the counts stay zero"), |runner| stress(runner, "pthread");
    "stress-ng futex", "`--futex 2 --verify`", [STRESS], false, Some("its workers count in memory that they share; the counts stay zero"), |runner| stress(runner, "futex");
    "stress-ng pipe", "`--pipe 2 --verify`", [STRESS], false, Some("its workers count in memory that they share; the counts stay zero"), |runner| stress(runner, "pipe");
    "stress-ng sock", "`--sock 2 --verify`", [STRESS], false, Some("its workers count in memory that they share; the counts stay zero"), |runner| stress(runner, "sock");
    "stress-ng epoll", "`--epoll 2 --verify`", [STRESS], false, Some("its workers count in memory that they share; the counts stay zero"), |runner| stress(runner, "epoll");
    "stress-ng sigq", "`--sigq 2 --verify`", [STRESS], false, Some("its workers count in memory that they share; the counts stay zero"), |runner| stress(runner, "sigq");
}

const STRESS: &str = "/usr/bin/stress-ng";

fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

fn same(output: &str) -> String {
    output.to_owned()
}

/// Puts one file into the work directory.
fn file(name: &'static str, text: &'static str) -> impl Fn(&Path) -> Result<()> {
    move |work| fs::write(work.join(name), text).with_context(|| format!("cannot write {name}"))
}

/// Runs a tool natively, to prepare.
fn tool(work: &Path, argv: &[&str]) -> Result<()> {
    let mut command = Command::new(argv[0]);
    let output = command.args(&argv[1..]).current_dir(work).output();
    let output = output.with_context(|| format!("cannot run {argv:?}"))?;
    if !output.status.success() {
        bail!("{argv:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn java(runner: &Runner) -> Result<Outcome> {
    let prepare = |work: &Path| {
        file("Threads.java", JAVA_SOURCE)(work)?;
        tool(work, &["javac", "Threads.java"])
    };
    runner.compare(&[JAVA, "-cp", ".", "Threads"], "", prepare, same)
}

fn go_program(runner: &Runner, argument: &str) -> Result<Outcome> {
    let prepare = |work: &Path| {
        file("goroutines.go", GO_SOURCE)(work)?;
        tool(work, &["env", "CGO_ENABLED=0", "go", "build", "-o", "goroutines", "goroutines.go"])
    };
    runner.compare(&["./goroutines", argument], "", prepare, same)
}

fn go(runner: &Runner) -> Result<Outcome> {
    go_program(runner, "goroutines")
}

fn go_http(runner: &Runner) -> Result<Outcome> {
    go_program(runner, "http")
}

fn git(runner: &Runner) -> Result<Outcome> {
    let prepare = |work: &Path| {
        file("setup.sh", include_str!("sources/repository.sh"))(work)?;
        tool(work, &["sh", "setup.sh"])
    };
    let script = "git clone --no-local origin copy && cd copy && git log --format='%H %s' && git status --short && git fsck";
    runner.compare(&["/bin/sh", "-c", script], "", prepare, same)
}

fn gcc(runner: &Runner) -> Result<Outcome> {
    let script = "gcc -O2 -o primes primes.c && ./primes && sha256sum primes";
    runner.compare(&["/bin/sh", "-c", script], "", file("primes.c", C_SOURCE), same)
}

fn openssl(runner: &Runner) -> Result<Outcome> {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost -days 2 2>&- \
                  && openssl verify -CAfile cert.pem cert.pem && openssl x509 -in cert.pem -noout -subject";
    runner.compare(&["/bin/sh", "-c", script], "", nothing, same)
}

/// A cluster owned by who may run a server; the program under test runs as that user natively and inside.
fn postgres(runner: &Runner) -> Result<Outcome> {
    let prepare = |work: &Path| {
        tool(work, &["chown", "postgres:", "."])?;
        let user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
        tool(work, &[&user[..], &[INITDB, "-A", "trust", "data"]].concat())
    };
    let shape =
        |output: &str| output.lines().filter(|line| line.contains(" = \"")).collect::<Vec<_>>().join("\n");
    let argv = [POSTGRES, "--single", "-D", "data", "postgres"];
    runner.as_user("postgres")?.compare(&argv, include_str!("sources/tables.sql"), prepare, shape)
}

/// A stressor says that all was well also where it could not start one worker: its count of operations has to be there.
fn stress(runner: &Runner, stressor: &str) -> Result<Outcome> {
    let option = format!("--{stressor}");
    let argv = [
        STRESS,
        "--temp-path",
        ".",
        "--stdout",
        "--metrics-brief",
        "--verify",
        "--timeout",
        "5",
        &option,
        "2",
    ];
    let shape = |output: &str| {
        let completed = output.contains(" successful run completed");
        let metric = output.lines().find_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let at = words.iter().position(|word| *word == stressor)?;
            words.get(at + 1)?.parse::<u64>().ok()
        });
        let failed = output.lines().find(|line| line.contains("fail:")).unwrap_or_default();
        format!("completed {completed}, did something {} {failed}", metric.is_some_and(|count| count > 0))
    };
    runner.compare(&argv, "", nothing, shape)
}
