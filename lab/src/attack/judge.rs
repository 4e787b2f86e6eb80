//! What a run must have looked like, mode by mode.

use anyhow::{Result, bail};
use serde_json::Value;

use super::Mode;
use super::stage::Seen;
use crate::cases::{Case, Leaves, Need};

/// A run that went as it must.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) detail: String,
    pub(crate) elapsed_us: Option<u64>,
}

/// Judges `seen`.
///
/// # Errors
/// When it is not what the mode asks for; the error lists everything that is wrong.
pub(crate) fn judge(case: &Case, mode: Mode, guard_mode: Option<&str>, seen: &Seen) -> Result<Pass> {
    let prevents = matches!(guard_mode, Some("lsm" | "fmod_ret"));
    let mut wrong = Vec::new();
    if seen.timed_out {
        wrong.push("the container still ran when the watchdog ended it".to_owned());
    }
    if mode == Mode::Guarded {
        guarded(case, prevents, seen, &mut wrong);
    } else {
        if !seen.escaped {
            wrong.push("the attack left no proof".to_owned());
        }
        if case.immediate && !seen.ran_on {
            wrong.push("the store behind the call did not happen".to_owned());
        }
    }
    if mode == Mode::Audit {
        check_violation(case, seen, "audit", &mut wrong);
        if event(seen, "killed").is_some() {
            wrong.push("audit mode killed the container".to_owned());
        }
    }
    if !wrong.is_empty() {
        bail!("{}{}", wrong.join("; "), said(seen));
    }
    let elapsed_us = event(seen, "killed").and_then(|event| event["elapsed_us"].as_u64());
    let invariant = event(seen, "violation").and_then(|event| event["invariant"].as_str());
    let detail = match (mode, invariant, elapsed_us) {
        (Mode::Unguarded, ..) => "escapes".to_owned(),
        (_, Some(invariant), Some(us)) => format!("{invariant}, dead in {us} us"),
        (_, Some(invariant), None) => invariant.to_owned(),
        _ => "dead".to_owned(),
    };
    Ok(Pass { detail, elapsed_us })
}

fn guarded(case: &Case, prevents: bool, seen: &Seen, wrong: &mut Vec<String>) {
    let tolerated = match case.leaves {
        Leaves::Nothing | Leaves::Setting => false,
        // Only a mode that comes too late may leave the effect of one call.
        Leaves::Effect => !prevents,
        Leaves::AgentDead => true,
    };
    if seen.escaped && !tolerated {
        wrong.push("the attack left its proof".to_owned());
    }
    // A mode that prevents looks where the task next uses what it took, not at the end of each call.
    let immediate = case.immediate && !(prevents && case.has(Need::Payload));
    if immediate && seen.ran_on {
        wrong.push("an instruction behind the call ran".to_owned());
    }
    if seen.survivors > 0 {
        wrong.push(format!("{} processes of the container survived", seen.survivors));
    }
    // A dead agent reports nothing; what counts then is that the container is dead all the same.
    if case.leaves != Leaves::AgentDead {
        check_violation(case, seen, "kill", wrong);
        if event(seen, "killed").is_none() {
            wrong.push("no killed event".to_owned());
        }
    }
    if let Some(harm) = &seen.harm {
        wrong.push(format!("the host was harmed: {harm}"));
    }
}

/// The violation must name one of the case's invariants and the mode's action.
fn check_violation(case: &Case, seen: &Seen, action: &str, wrong: &mut Vec<String>) {
    let violations: Vec<&Value> = seen.events.iter().filter(|event| event["type"] == "violation").collect();
    let expected = |event: &&&Value| {
        event["invariant"].as_str().is_some_and(|name| case.invariants.contains(&name))
            && event["action"] == action
    };
    if violations.iter().any(|event| expected(&event)) {
        return;
    }
    match violations.first() {
        None => {
            let others = seen.foreign.iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
            let others = if others.is_empty() { "none".to_owned() } else { others };
            let expected = case.invariants.join(" or ");
            wrong.push(format!("no violation event (expected {expected}; events about others: {others})"));
        }
        Some(event) => wrong.push(format!(
            "violation {} with action {} (expected {} with action {action})",
            event["invariant"],
            event["action"],
            case.invariants.join(" or ")
        )),
    }
}

fn event<'a>(seen: &'a Seen, kind: &str) -> Option<&'a Value> {
    seen.events.iter().find(|event| event["type"] == kind)
}

/// The last of what the container said, for a failure.
fn said(seen: &Seen) -> String {
    let lines: Vec<&str> = seen.output.trim().lines().collect();
    let start = lines.len().saturating_sub(3);
    if lines.is_empty() { String::new() } else { format!(" [it said: {}]", lines[start..].join(" / ")) }
}
