//! Numbers in EAX: leaves going in, error codes coming out.

use core::fmt;

/// A table of named numbers: the enum, its parser and the manual's names, from one list.
macro_rules! numbers {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal $text:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$doc])* $variant = $value,)*
        }

        impl $name {
            /// The one of this number.
            #[must_use]
            pub const fn from_raw(raw: u32) -> Option<Self> {
                match raw {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number.
            #[must_use]
            pub const fn raw(self) -> u32 {
                match self {
                    $(Self::$variant => $value,)*
                }
            }

            /// The name in the manual.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

numbers! {
    /// Leaves of ENCLU, the instruction (0F 01 D7) of user mode (SDM vol. 3D, ch. 36).
    Leaf {
        /// Sign a statement about this enclave for another one on this machine.
        Ereport = 0 "EREPORT",
        /// Derive a key.
        Egetkey = 1 "EGETKEY",
        /// Enter.
        Eenter = 2 "EENTER",
        /// Go on after an asynchronous exit.
        Eresume = 3 "ERESUME",
        /// Leave.
        Eexit = 4 "EEXIT",
        /// Agree to what the host did with a page.
        Eaccept = 5 "EACCEPT",
        /// Extend a page's permissions.
        Emodpe = 6 "EMODPE",
        /// Agree to a new page and fill it.
        Eacceptcopy = 7 "EACCEPTCOPY",
        /// Check a TDX report.
        Everifyreport2 = 8 "EVERIFYREPORT2",
        /// Drop to the state frame below without leaving.
        Edeccssa = 9 "EDECCSSA",
    }
}

numbers! {
    /// What an SGX instruction answers in EAX when it does not fault (SDM vol. 3D, ch. 36). Success is
    /// zero and has no place here.
    ErrorCode {
        /// SIGSTRUCT's constants, vendor, exponent or reserved bytes are wrong.
        InvalidSigStruct = 1 "SGX_INVALID_SIG_STRUCT",
        /// ATTRIBUTES or MISCSELECT are not what the signature allows; a key is not this enclave's to derive.
        InvalidAttribute = 2 "SGX_INVALID_ATTRIBUTE",
        /// The page has the blocked state already.
        Blkstate = 3 "SGX_BLKSTATE",
        /// MRENCLAVE is not the one signed.
        InvalidMeasurement = 4 "SGX_INVALID_MEASUREMENT",
        /// The page's type cannot be blocked.
        Notblockable = 5 "SGX_NOTBLOCKABLE",
        /// The page is not valid.
        PgInvld = 6 "SGX_PG_INVLD",
        /// Another processor works on the same page (SGX_LOCKFAIL in older manuals).
        EpcPageConflict = 7 "SGX_EPC_PAGE_CONFLICT",
        /// The RSA signature, or q1 or q2 with it, does not verify.
        InvalidSignature = 8 "SGX_INVALID_SIGNATURE",
        /// A page that comes back from outside is not the one that went.
        MacCompareFail = 9 "SGX_MAC_COMPARE_FAIL",
        /// The page is not blocked.
        PageNotBlocked = 10 "SGX_PAGE_NOT_BLOCKED",
        /// A processor may still hold the old translation.
        NotTracked = 11 "SGX_NOT_TRACKED",
        /// The version slot is in use.
        VaSlotOccupied = 12 "SGX_VA_SLOT_OCCUPIED",
        /// The SECS has pages.
        ChildPresent = 13 "SGX_CHILD_PRESENT",
        /// A processor is in the enclave.
        EnclaveAct = 14 "SGX_ENCLAVE_ACT",
        /// Another processor works on the same enclave's epoch.
        EntryepochLocked = 15 "SGX_ENTRYEPOCH_LOCKED",
        /// Launch control refuses.
        InvalidEinittoken = 16 "SGX_INVALID_EINITTOKEN",
        /// The tracking cycle before is not complete.
        PrevTrkIncmpl = 17 "SGX_PREV_TRK_INCMPL",
        /// The page is a SECS.
        PgIsSecs = 18 "SGX_PG_IS_SECS",
        /// The page is not what the enclave asked for.
        PageAttributesMismatch = 19 "SGX_PAGE_ATTRIBUTES_MISMATCH",
        /// The page is pending, modified or of a type that cannot change.
        PageNotModifiable = 20 "SGX_PAGE_NOT_MODIFIABLE",
        /// The page cannot be debugged.
        PageNotDebuggable = 21 "SGX_PAGE_NOT_DEBUGGABLE",
        /// The counter is not valid.
        InvalidCounter = 25 "SGX_INVALID_COUNTER",
        /// The page is not in the EPC.
        PgNonepc = 26 "SGX_PG_NONEPC",
        /// The requested CPUSVN is beyond the platform's.
        InvalidCpusvn = 32 "SGX_INVALID_CPUSVN",
        /// The requested ISVSVN is beyond the enclave's.
        InvalidIsvsvn = 64 "SGX_INVALID_ISVSVN",
        /// An interrupt came in between: try again.
        UnmaskedEvent = 128 "SGX_UNMASKED_EVENT",
        /// There is no key of this name.
        InvalidKeyname = 256 "SGX_INVALID_KEYNAME",
    }
}
