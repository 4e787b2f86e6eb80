//! Prints MRENCLAVE of the embedded image: what `casemate enclave measure` prints, for `scripts/reproducible.sh`.

use std::error::Error;

use casemate_host::{Image, Plan};

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::new(&Image::embedded()?, 1 << 30, true)?;
    let digits: String = plan.measure().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{digits}");
    Ok(())
}
