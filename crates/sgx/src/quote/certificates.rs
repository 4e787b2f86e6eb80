//! Certificates and revocation lists of the emulated platform.

use std::str::FromStr as _;
use std::time::Duration;

use der::asn1::OctetString;
use der::{DateTime, Encode as _};
use p256::ecdsa::{DerSignature, SigningKey};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder, CrlBuilder, Error};
use x509_cert::certificate::{Certificate, Rfc5280, TbsCertificate};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use super::sgx_extension;

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// Signs itself and everything below.
    Root,
    /// Signs platforms.
    PlatformCa,
    /// Signs the quoting enclave's report; carries the SGX extension.
    Platform,
    /// Signs TCB info and identities.
    TcbSigning,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "CN=Casemate emulated SGX Root CA (proves nothing)",
            Self::PlatformCa => "CN=Casemate emulated SGX Platform CA (proves nothing)",
            Self::Platform => "CN=Casemate emulated SGX platform (proves nothing)",
            Self::TcbSigning => "CN=Casemate emulated SGX TCB Signing (proves nothing)",
        }
    }

    const fn serial(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::PlatformCa => 2,
            Self::Platform => 3,
            Self::TcbSigning => 4,
        }
    }

    const fn is_ca(self) -> bool {
        matches!(self, Self::Root | Self::PlatformCa)
    }

    const fn issuer(self) -> Self {
        match self {
            Self::Platform => Self::PlatformCa,
            Self::Root | Self::PlatformCa | Self::TcbSigning => Self::Root,
        }
    }
}

impl BuilderProfile for Role {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer().get_subject()
    }

    fn get_subject(&self) -> Name {
        // The names are constants above, and a test encodes them all.
        Name::from_str(self.name()).unwrap_or_default()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        certificate: &TbsCertificate,
    ) -> Result<Vec<Extension>, Error> {
        let subject = certificate.subject();
        let usage = if self.is_ca() {
            KeyUsages::KeyCertSign | KeyUsages::CRLSign
        } else {
            KeyUsages::DigitalSignature | KeyUsages::NonRepudiation
        };
        let path_len_constraint = matches!(self, Self::PlatformCa).then_some(0);
        let issuer_id = SubjectKeyIdentifier::try_from(issuer_key)?.0;
        let authority = AuthorityKeyIdentifier { key_identifier: Some(issuer_id), ..Default::default() };
        let mut extensions = vec![
            authority.to_extension(subject, &[])?,
            SubjectKeyIdentifier::try_from(key)?.to_extension(subject, &[])?,
            KeyUsage(usage).to_extension(subject, &[])?,
            BasicConstraints { ca: self.is_ca(), path_len_constraint }.to_extension(subject, &[])?,
        ];
        if matches!(self, Self::Platform) {
            extensions.push(Extension {
                extn_id: sgx_extension::OID,
                critical: false,
                extn_value: OctetString::new(sgx_extension::encode()?)?,
            });
        }
        Ok(extensions)
    }
}

/// A certificate for `key`, good from 2024 to the end of 2049 (the last year that a UTCTime can say).
pub(super) fn certificate(role: Role, key: &SigningKey, issuer: &SigningKey) -> Result<Certificate, Error> {
    let day = |year, month, day, hour, minute, second| {
        DateTime::new(year, month, day, hour, minute, second).map(Time::from)
    };
    let validity = Validity::new(day(2024, 1, 1, 0, 0, 0)?, day(2049, 12, 31, 23, 59, 59)?);
    let public = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
    CertificateBuilder::new(role, SerialNumber::from(role.serial()), validity, public)?
        .build::<_, DerSignature>(issuer)
}

/// An empty revocation list, good from `issued` for `period`, in DER.
pub(super) fn crl(
    issuer: &Certificate,
    key: &SigningKey,
    issued: DateTime,
    period: Duration,
) -> Result<Vec<u8>, Error> {
    let end = DateTime::from_unix_duration(issued.unix_duration().saturating_add(period))?;
    let list =
        CrlBuilder::<Rfc5280>::new_with_this_update(issuer, CrlNumber::try_from(1_u8)?, Time::from(issued))?
            .with_next_update(Some(Time::from(end)))
            .build::<_, DerSignature>(key)?;
    Ok(list.to_der()?)
}
