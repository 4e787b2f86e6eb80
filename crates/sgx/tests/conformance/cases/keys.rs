//! EREPORT and EGETKEY (SDM vol. 3D, chapter 39), and quotes.

use aes::Aes128;
use casemate_sgx::arch::{
    AttributeFlags, Attributes, ErrorCode, KeyName, KeyPolicy, KeyRequest, Leaf, Report, ReportBody,
    TargetInfo, Vector,
};
use casemate_sgx::platform::Platform;
use casemate_sgx::sign::mrsigner;
use cmac::{Cmac, KeyInit as _, Mac as _};
use zerocopy::IntoBytes as _;

use crate::support::machine::{Machine, address, inside};
use crate::support::shape::{DATA, PAGE, READ_ONLY, Shape, Signer};

/// Where operands lie in the data pages.
const OPERAND: u64 = DATA;
const SECOND: u64 = DATA + PAGE;
const ANSWER: u64 = DATA + 2 * PAGE;

fn report(machine: &Machine, target: &TargetInfo, data: &[u8; 64]) -> Report {
    machine.write(0, OPERAND, target.as_bytes());
    machine.write(0, SECOND, data);
    machine
        .enclu(Leaf::Ereport, [OPERAND, SECOND, ANSWER].map(|offset| machine.at(offset)))
        .expect("no fault");
    machine.read_as(ANSWER)
}

fn body(machine: &Machine) -> ReportBody {
    report(machine, &TargetInfo::default(), &[0; 64]).body
}

fn key(machine: &Machine, request: &KeyRequest) -> Result<[u8; 16], ErrorCode> {
    machine.write(0, OPERAND, request.as_bytes());
    machine.write(0, ANSWER, &[0xee; 16]);
    let answer =
        machine.enclu(Leaf::Egetkey, [machine.at(OPERAND), machine.at(ANSWER), 0]).expect("no fault");
    let key = machine.read_as(ANSWER);
    match answer.code() {
        Ok(()) => Ok(key),
        Err(code) => {
            assert_eq!(key, [0xee; 16], "nothing is written beside an error");
            Err(code)
        }
    }
}

fn mac(key: &[u8; 16], bytes: &[u8]) -> [u8; 16] {
    let mut mac = Cmac::<Aes128>::new_from_slice(key).expect("sixteen bytes");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// One enclave's report is checked by the enclave it was made for, and by nobody else.
pub(crate) fn a_report_is_checked_by_its_target(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let teller = Machine::with(platform, &shape).unwrap();
    let listener = Machine::with(platform, &Shape { marker: 1, signer: Signer::Other, ..shape }).unwrap();
    let target = TargetInfo::of(&body(&listener));
    let data: [u8; 64] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let report = report(&teller, &target, &data);

    let body = report.body;
    assert_eq!(body.mrenclave, shape.measurement());
    assert_eq!(body.mrsigner, mrsigner(&shape.sign()));
    assert_eq!(body.attributes.flags, shape.attributes | AttributeFlags::INIT);
    assert_eq!(body.attributes.xfrm, shape.xfrm);
    assert_eq!(body.miscselect, shape.miscselect);
    assert_eq!((body.isvprodid, body.isvsvn), (shape.isvprodid, shape.isvsvn));
    assert_eq!(body.reportdata, data);
    assert_eq!((body.configid, body.configsvn), ([0; 64], 0));

    let request = KeyRequest { keyname: KeyName::Report.raw(), keyid: report.keyid, ..KeyRequest::default() };
    assert_eq!(mac(&key(&listener, &request).unwrap(), body.as_bytes()), report.mac);
    assert_ne!(mac(&key(&teller, &request).unwrap(), body.as_bytes()), report.mac);
    let other = KeyRequest { keyid: [9; 32], ..request };
    assert_ne!(mac(&key(&listener, &other).unwrap(), body.as_bytes()), report.mac);
    let mut forged = body;
    forged.reportdata[0] ^= 1;
    let listeners = key(&listener, &KeyRequest { keyid: report.keyid, ..other }).unwrap();
    assert_ne!(mac(&listeners, forged.as_bytes()), report.mac);
}

pub(crate) fn sealing_keys(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let machine = Machine::with(platform, &shape).unwrap();
    let flags = AttributeFlags::INIT | AttributeFlags::DEBUG;
    let request = |keypolicy| KeyRequest {
        keyname: KeyName::Seal.raw(),
        keypolicy,
        isvsvn: shape.isvsvn,
        cpusvn: body(&machine).cpusvn,
        attributemask: Attributes { flags, xfrm: 0 },
        ..KeyRequest::default()
    };
    let enclave = request(KeyPolicy::MRENCLAVE);
    let signer = request(KeyPolicy::MRSIGNER);
    let own = key(&machine, &enclave).unwrap();
    let signers = key(&machine, &signer).unwrap();
    assert_ne!(own, signers);
    assert_eq!(own, key(&machine, &enclave).unwrap());
    let with = |change: Shape| Machine::with(platform, &change).unwrap();
    // The same enclave again, at another address.
    let again = with(shape);
    assert_eq!(key(&again, &enclave).unwrap(), own);
    // Another enclave of the same signer.
    let sister = with(Shape { marker: 1, ..shape });
    assert_ne!(key(&sister, &enclave).unwrap(), own);
    assert_eq!(key(&sister, &signer).unwrap(), signers);
    // The same enclave, by another signer.
    let stolen = with(Shape { signer: Signer::Other, ..shape });
    assert_eq!(key(&stolen, &enclave).unwrap(), own);
    assert_ne!(key(&stolen, &signer).unwrap(), signers);
    // Another product of the signer's.
    let product = with(Shape { isvprodid: 4, ..shape });
    assert_ne!(key(&product, &signer).unwrap(), signers);
    // A newer version reaches the keys of the older, not the other way round.
    let newer = with(Shape { isvsvn: shape.isvsvn + 1, ..shape });
    assert_eq!(key(&newer, &signer).unwrap(), signers);
    let ahead = KeyRequest { isvsvn: shape.isvsvn + 1, ..signer.clone() };
    assert_ne!(key(&newer, &ahead).unwrap(), signers);
    assert_eq!(key(&machine, &ahead), Err(ErrorCode::InvalidIsvsvn));
    assert_ne!(key(&machine, &KeyRequest { keyid: [1; 32], ..signer.clone() }).unwrap(), signers);
    assert_eq!(
        key(&machine, &KeyRequest { cpusvn: [0xff; 16], ..signer.clone() }),
        Err(ErrorCode::InvalidCpusvn)
    );
    assert_eq!(key(&machine, &KeyRequest { keyname: 99, ..signer.clone() }), Err(ErrorCode::InvalidKeyname));
    for name in [KeyName::Einittoken, KeyName::Provision, KeyName::ProvisionSeal] {
        let request = KeyRequest { keyname: name.raw(), ..signer.clone() };
        assert_eq!(key(&machine, &request), Err(ErrorCode::InvalidAttribute), "{name:?}");
    }
}

/// A debug enclave never has the keys of the same enclave without DEBUG, whatever mask it names.
pub(crate) fn debug_enclaves_get_other_keys(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let machine = Machine::with(platform, &shape).unwrap();
    let debug = Shape { attributes: shape.attributes | AttributeFlags::DEBUG, ..shape };
    let debugged = Machine::with(platform, &debug).unwrap();
    assert!(body(&debugged).attributes.flags.contains(AttributeFlags::DEBUG));
    assert_eq!(body(&debugged).mrenclave, body(&machine).mrenclave);
    for keypolicy in [KeyPolicy::MRENCLAVE, KeyPolicy::MRSIGNER] {
        let request = KeyRequest { keyname: KeyName::Seal.raw(), keypolicy, ..KeyRequest::default() };
        assert_ne!(key(&machine, &request).unwrap(), key(&debugged, &request).unwrap());
    }
}

pub(crate) fn operands(platform: &dyn Platform) {
    let gp = inside(Vector::GP, 0, 0);
    let mut buffer = vec![0_u64; 1024];
    let outside = address(buffer.as_mut_ptr()).next_multiple_of(512);
    let fault = |leaf: Leaf, operands: [u64; 3]| {
        let machine = Machine::new(platform);
        let operands = operands.map(|operand| if operand < 1 << 21 { machine.at(operand) } else { operand });
        (machine.enclu(leaf, operands).unwrap_err(), machine)
    };
    for operands in [
        [OPERAND + 64, SECOND, ANSWER],
        [OPERAND, SECOND + 64, ANSWER],
        [OPERAND, SECOND, ANSWER + 64],
        [outside, SECOND, ANSWER],
        [OPERAND, outside, ANSWER],
        [OPERAND, SECOND, outside],
        [OPERAND, SECOND, 0x10_0000],
    ] {
        assert_eq!(fault(Leaf::Ereport, operands).0, gp, "EREPORT {operands:x?}");
    }
    for operands in
        [[OPERAND + 64, ANSWER, 0], [OPERAND, ANSWER + 8, 0], [outside, ANSWER, 0], [OPERAND, outside, 0]]
    {
        assert_eq!(fault(Leaf::Egetkey, operands).0, gp, "EGETKEY {operands:x?}");
    }
    // An answer cannot go where the enclave cannot write, whoever forbids it.
    for (leaf, operands) in
        [(Leaf::Ereport, [OPERAND, SECOND, READ_ONLY]), (Leaf::Egetkey, [OPERAND, READ_ONLY, 0])]
    {
        let (fault, machine) = fault(leaf, operands);
        assert_eq!((fault.vector, fault.error_code & 2), (Vector::PF.0, 2), "{leaf}");
        assert_eq!(fault.address, machine.at(READ_ONLY));
        assert_eq!(machine.frame(0, 0).exinfo().maddr, machine.at(READ_ONLY));
    }
    let machine = Machine::new(platform);
    let mut request = KeyRequest { keyname: KeyName::Seal.raw(), ..KeyRequest::default() };
    request.reserved2.0[9] = 1;
    machine.write(0, OPERAND, request.as_bytes());
    assert_eq!(machine.enclu(Leaf::Egetkey, [machine.at(OPERAND), machine.at(ANSWER), 0]).unwrap_err(), gp);
}

/// A quote of version 3 over the report; of a report that was tampered with there is none.
pub(crate) fn quotes(platform: &dyn Platform) {
    let shape = Shape::new(platform);
    let machine = Machine::with(platform, &shape).unwrap();
    let target = match platform.quoting_target() {
        Err(error) if !platform.is_emulated() => {
            println!("skipped: {error}");
            return;
        }
        target => target.unwrap(),
    };
    let mut report = report(&machine, &target, &[0x42; 64]);
    let quote = platform.quote(&report).unwrap();
    assert_eq!(quote[..2], [3, 0]);
    assert_eq!(&quote[48..432], report.body.as_bytes());
    report.body.isvsvn += 1;
    platform.quote(&report).unwrap_err();
    report.body.isvsvn -= 1;
    report.mac[3] ^= 1;
    platform.quote(&report).unwrap_err();
}
