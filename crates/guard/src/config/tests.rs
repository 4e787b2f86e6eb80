//! Configurations as they are written, well and badly.

use super::*;
use crate::names::Runtime;

const WHOLE: &str = r#"
policy = "audit"
mode = "fmod_ret"
deny = ["userns", "af_alg"]
strict = true
[scope]
sandboxes = "ignore"
[[exception]]
name = "node-exporter*"
label = "team=sre*"
invariants = ["PROC", "NS"]
reason = "reads host /proc"
[[exception]]
image = "*/backup:*"
invariants = ["MNT", "NS"]
reason = "reads the disk"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("casemate.toml")).map_err(|error| error.to_string())
}

fn container(name: &str, image: &str, labels: &[(&str, &str)]) -> Identity {
    let mut identity = Identity::new("ab", Runtime::Docker);
    identity.name = Some(name.to_owned());
    identity.image = Some(image.to_owned());
    identity.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    identity
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(Config::default().policy, Policy::Enforce);
    assert_eq!(Config::default().scope.sandboxes, Sandboxes::Audit);
}

#[test]
fn a_whole_file() {
    let config = parse(WHOLE).unwrap();
    assert_eq!((config.policy, config.mode, config.strict), (Policy::Audit, Some(Mode::FmodRet), true));
    assert_eq!(config.deny, [Precondition::Userns, Precondition::AfAlg]);
    assert_eq!(config.scope.sandboxes, Sandboxes::Ignore);
    assert_eq!(config.exceptions.len(), 2);
    assert_eq!(config.exceptions[0].invariants, [Invariant::Proc, Invariant::Ns]);
    assert_eq!(config.exceptions[0].reason, "reads host /proc");
}

#[test]
fn exceptions_need_all_their_patterns_and_add_up() {
    let config = parse(WHOLE).unwrap();
    let exempt = |name, image, labels: &[_]| config.exempt(&container(name, image, labels));
    let sre = [("team", "sre-1")];
    let mut both = exempt("node-exporter-7", "hub/backup:3", &sre);
    both.sort_by_key(ToString::to_string);
    assert_eq!(both, [Invariant::Mnt, Invariant::Ns, Invariant::Proc]);
    assert_eq!(exempt("node-exporter", "x", &sre).len(), 2);
    assert_eq!(exempt("node-exporter", "x", &[("team", "web")]), []);
    assert_eq!(exempt("node-exporter", "x", &[]), []);
    assert_eq!(exempt("my-node-exporter", "x", &sre), []);
    assert_eq!(config.exempt(&Identity::new("node-exporter", Runtime::Unknown)), []);
}

#[test]
fn a_pattern_does_not_match_what_is_unknown() {
    let config = parse("[[exception]]\nname='*'\ninvariants=['NS']\nreason='r'").unwrap();
    assert_eq!(config.exempt(&Identity::new("ab", Runtime::Docker)), []);
    assert_eq!(config.exempt(&container("", "", &[])), [Invariant::Ns]);
}

#[test]
fn errors_name_file_line_key_and_remedy() {
    let head = "strict = true\n\n[[exception]]\n";
    let cases: [(String, &[&str]); 16] = [
        ("policy = \"enforc\"".into(), &["casemate.toml:1:10: in `policy`: ", "`enforce`", "`audit`"]),
        (
            "mode = 'kprobe'".into(),
            &["casemate.toml:1:8: in `mode`: ", "`lsm`", "`fmod_ret`", "`tracepoint`"],
        ),
        ("deny = ['usrns']".into(), &["casemate.toml:1:9: in `deny`: ", "`userns`", "`af_alg`"]),
        ("\nstrict = 1".into(), &["casemate.toml:2:10: in `strict`: ", "boolean"]),
        ("strikt = true".into(), &["casemate.toml:1:1: in `strikt`: ", "unknown field", "`strict`"]),
        ("[scope]\nsandbox = 1".into(), &["casemate.toml:2:1: in `scope.sandbox`: ", "`sandboxes`"]),
        ("[scope]\nsandboxes = 'no'".into(), &["casemate.toml:2:13: in `scope.sandboxes`: ", "`ignore`"]),
        ("mode = ".into(), &["casemate.toml:1:"]),
        (
            format!("{head}name = 'x'\nimages = 'y'"),
            &["casemate.toml:5:1: in `exception.images`: ", "`image`"],
        ),
        (
            format!("{head}name = 'x'\nreason = 'r'\ninvariants = ['NS', 'XX']"),
            &["casemate.toml:6:21: in `exception.invariants`: \"XX\" is not", "NS", "CRED", "SELF"],
        ),
        (
            format!("{head}name = 'x'\nreason = 'r'\ninvariants = [\n  'NS',\n  'é', 'ns-']"),
            &["casemate.toml:8:3: in `exception.invariants`: \"é\" is not"],
        ),
        (
            format!("{head}reason = 'r'\ninvariants = ['NS']"),
            &["casemate.toml:3:1: in `exception`: ", "add `name`"],
        ),
        (format!("{head}name = 'x'\nreason = 'r'"), &["casemate.toml:3:1: ", "add `invariants`", "PROC"]),
        (
            format!("{head}name = 'x'\nreason = 'r'\ninvariants = []"),
            &["casemate.toml:3:1: ", "add `invariants`"],
        ),
        (
            format!("{head}name = 'x'\nreason = ' '\ninvariants = ['NS']"),
            &["casemate.toml:3:1: ", "no `reason`"],
        ),
        (
            format!("{head}label = '=x'\nreason = 'r'\ninvariants = ['NS']"),
            &["casemate.toml:4:9: in `exception.label`: ", "write `key`"],
        ),
    ];
    for (text, expected) in cases {
        let error = parse(&text).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{error}\n  lacks {part:?}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/casemate.toml")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/casemate.toml") && error.contains("--config"), "{error}");
}

#[test]
fn preconditions_have_the_numbers_of_the_kernel_side() {
    for (number, (precondition, words)) in Precondition::ALL.into_iter().enumerate() {
        assert_eq!(precondition.bit(), 1 << number);
        assert_eq!(Precondition::words(u32::try_from(number).unwrap()), words);
    }
}
