//! `casemate enclave`

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use casemate_host::{Image, Plan, Size, signing};
use casemate_sgx::arch::Sigstruct;
use casemate_sgx::sign::{self, SignDate, SigningKey};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::Output;

/// The enclave that programs run in: its measurement, its signature.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the measurement (MRENCLAVE) of the enclave that this program carries
    Measure(Measure),
    /// Sign that measurement with your own key, for casemate run --sigstruct
    Sign(Sign),
    /// Describe the enclave that this program carries, or a signature
    Info(Info),
    /// Make a signing key: RSA, 3072 bits, exponent 3
    Key(Key),
}

/// What the measurement depends on, besides the image.
#[derive(Debug, clap::Args)]
struct Shape {
    /// Memory of the program; counts only with --no-edmm
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    heap: Size,
    /// For processors without EDMM: all memory is added at the start, and counts
    #[arg(long)]
    no_edmm: bool,
}

impl Shape {
    fn plan(&self) -> anyhow::Result<Plan> {
        Ok(Plan::new(&Image::embedded()?, self.heap.0, !self.no_edmm)?)
    }
}

#[derive(Debug, clap::Args)]
struct Measure {
    #[command(flatten)]
    shape: Shape,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Sign {
    #[command(flatten)]
    shape: Shape,
    /// Private key in PEM, from casemate enclave key
    #[arg(long, value_name = "KEY.pem")]
    key: PathBuf,
    /// Where the signature (SIGSTRUCT) goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Product number
    #[arg(long, value_name = "N", default_value_t = 0)]
    isvprodid: u16,
    /// Security version
    #[arg(long, value_name = "N", default_value_t = 0)]
    isvsvn: u16,
    /// Day of the signature [default: today, UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<SignDate>,
    /// For a debug enclave (casemate run --debug)
    #[arg(long)]
    debug: bool,
}

#[derive(Debug, clap::Args)]
struct Info {
    /// Signature to describe [default: the enclave that this program carries]
    file: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Key {
    /// Where the private key goes, in PEM; a file that is there is not overwritten
    #[arg(long, value_name = "KEY.pem")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Measure(measure) => {
            let value = json!({ "mrenclave": hex(&measure.shape.plan()?.measure()) });
            print(&value, measure.output, |out| writeln!(out, "{}", text(&value["mrenclave"])))?;
        }
        Command::Sign(arguments) => sign(arguments)?,
        Command::Info(info) => {
            let value = match &info.file {
                Some(file) => signature(&signing::load(file)?),
                None => enclave(&info.shape)?,
            };
            print(&value, info.output, |out| list(out, &value))?;
        }
        Command::Key(arguments) => key(&arguments.out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sign(arguments: &Sign) -> anyhow::Result<()> {
    let path = &arguments.key;
    let pem = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = SigningKey::from_pem(&pem).with_context(|| path.display().to_string())?;
    let date = arguments.date.unwrap_or_else(signing::today);
    let mut builder = signing::builder(arguments.shape.plan()?.measure(), arguments.debug, date);
    builder.isvprodid = arguments.isvprodid;
    builder.isvsvn = arguments.isvsvn;
    let signed = builder.sign(&key).with_context(|| path.display().to_string())?;
    let out = &arguments.out;
    fs::write(out, signing::bytes(&signed)).with_context(|| format!("cannot write {}", out.display()))
}

/// Makes a key, which nobody else can read.
fn key(path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    // Before the work of finding primes.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(cannot)?;
    let made = SigningKey::generate().and_then(|key| key.to_pkcs8_pem());
    if made.is_err() {
        // It is empty, and in the way of another try.
        let _ = fs::remove_file(path);
    }
    file.write_all(made?.as_bytes()).with_context(cannot)
}

/// What there is to say of the enclave.
fn enclave(shape: &Shape) -> anyhow::Result<Value> {
    let image = Image::embedded()?;
    let plan = shape.plan()?;
    let (pages, measured) = plan.pages();
    let segments: Vec<_> = image.segments().iter().map(|segment| format!("{segment:?}")).collect();
    Ok(json!({
        "mrenclave": hex(&plan.measure()),
        "image": Size(image.len()).to_string(),
        "segments": segments,
        "entry": format!("{:#x}", image.entry()),
        "elrange": Size(plan.size()).to_string(),
        "edmm": plan.is_dynamic(),
        "heap": Size(plan.heap()).to_string(),
        "pages": pages,
        "pages measured": measured,
    }))
}

/// What a SIGSTRUCT says.
fn signature(sigstruct: &Sigstruct) -> Value {
    let digits = format!("{:08x}", sigstruct.date);
    let date = match (digits.get(..4), digits.get(4..6), digits.get(6..)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => digits,
    };
    let (attributes, mask) = (sigstruct.attributes, sigstruct.attributemask);
    let flags: Vec<_> = attributes.flags.iter_names().map(|(name, _)| name).collect();
    json!({
        "mrenclave": hex(&sigstruct.enclavehash),
        "mrsigner": hex(&sign::mrsigner(sigstruct)),
        "date": date,
        "attributes": flags.join(" "),
        "attribute mask": format!("{:#x}", mask.flags.bits()),
        "xfrm": format!("{:#x}", attributes.xfrm),
        "xfrm mask": format!("{:#x}", mask.xfrm),
        "miscselect": format!("{:#x}", sigstruct.miscselect.bits()),
        "isvprodid": sigstruct.isvprodid,
        "isvsvn": sigstruct.isvsvn,
    })
}

fn print(
    value: &Value,
    output: Output,
    human: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Human => human(&mut out)?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A line for each field.
fn list(out: &mut io::StdoutLock<'_>, value: &Value) -> io::Result<()> {
    for (name, value) in value.as_object().into_iter().flatten() {
        let values = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        let mut name = name.as_str();
        for value in values {
            writeln!(out, "{name:<16}{}", text(value))?;
            name = "";
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A day as YYYY-MM-DD.
fn date(text: &str) -> anyhow::Result<SignDate> {
    let parts: Vec<&str> = text.split('-').collect();
    let &[year, month, day] = parts.as_slice() else { bail!("want YYYY-MM-DD") };
    ensure!(parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())), "want YYYY-MM-DD");
    SignDate::new(year.parse()?, month.parse()?, day.parse()?).context("there is no such day")
}
