//! What every platform must do, in its own code: the kernel's `tools/testing/selftests/sgx/main.c` by meaning, and what the
//! Intel SDM, volume 3D, says of entries, exits, exceptions, pages, keys and signatures.
//!
//! Each case runs on the emulator in both of its modes, and on the processor where `cargo xtask sgx-conformance` finds
//! `/dev/sgx_enclave` and asks for the ignored tests too. What needs the emulator's own knobs is in `tests/emulated.rs`.

mod cases;
mod support;

use casemate_sgx::platform::Platform;
use casemate_sgx::platform::device::Device;
use casemate_sgx::platform::emulated::{Emulated, Options};
use support::image;
use support::shape::CODE;

fn emulated(strict: bool) -> Box<dyn Platform> {
    let options = Options { strict, stub_offset: Some(CODE + image::stub()), ..Options::new([7; 16]) };
    Box::new(Emulated::new(options).expect("the emulated platform"))
}

fn fast() -> Box<dyn Platform> {
    emulated(false)
}

fn strict() -> Box<dyn Platform> {
    emulated(true)
}

fn device() -> Box<dyn Platform> {
    Box::new(Device::open().expect("a processor with SGX and Linux's driver"))
}

/// One test for each case and platform.
macro_rules! on_every_platform {
    ($($module:ident: $($case:ident)*;)*) => {
        on_every_platform!(@ [] fast { $($module: $($case)*;)* });
        on_every_platform!(@ ["needs a processor with SGX: cargo xtask sgx-conformance"] device { $($module: $($case)*;)* });
        on_every_platform!(@ [] strict { $($module: $($case)*;)* });
    };
    (@ $ignored:tt $platform:ident { $($module:ident: $($case:ident)*;)* }) => {
        mod $platform {
            $(mod $module {
                on_every_platform!(# $ignored $platform $module: $($case)*);
            })*
        }
    };
    (# [] $platform:ident $module:ident: $($case:ident)*) => {
        $(#[test]
        fn $case() {
            crate::cases::$module::$case(&*crate::$platform());
        })*
    };
    (# [$reason:literal] $platform:ident $module:ident: $($case:ident)*) => {
        $(#[test]
        #[ignore = $reason]
        fn $case() {
            crate::cases::$module::$case(&*crate::$platform());
        })*
    };
}

on_every_platform! {
    kernel: unclobbered_vdso unclobbered_vdso_oversubscribed clobbered_vdso clobbered_vdso_and_user_function tcs_entry
        pte_permissions tcs_permissions epcm_permissions augment augment_via_eaccept tcs_create
        remove_added_page_no_eaccept remove_added_page_invalid_access
        remove_added_page_invalid_access_after_eaccept remove_untouched_page;
    signature: another_measurement_is_refused another_signer_changes_mrsigner_only other_attributes_are_refused
        masked_attributes_may_differ every_field_is_signed;
    entry: registers_at_eenter a_busy_tcs_refuses frames_run_out nested_entry what_is_no_tcs_refuses
        an_uninitialised_enclave_refuses resume_needs_a_frame unmapped_tcs_faults
        ssa_must_be_there raw_enclu_works_too unknown_leaves_raise_gp;
    build: ranges pages what_is_initialised_takes_no_pages mappings_are_capped frames_must_hold_the_state;
    exceptions: invalid_opcode divide_error page_fault_outside page_fault_inside fetch_from_data fetch_outside general_protection
        alignment_check simd_error x87_error breakpoint_is_ud_without_debugger instructions_that_enclaves_lack
        without_exinfo_memory_faults_are_mute nothing_leaks_from_an_exit;
    resume: everything_comes_back an_edited_frame_is_what_resumes bad_frames_refuse edeccssa
        edeccssa_then_exit_writes_the_lower_frame;
    edmm: mismatches operands emodpe_extends eacceptcopy_fills restricted_pages_must_be_accepted
        eaccept_of_a_running_tcs_is_refused host_calls_are_checked augmented_pages_are_zero
        a_trimmed_tcs_refuses;
    keys: a_report_is_checked_by_its_target sealing_keys operands debug_enclaves_get_other_keys quotes;
    signals: resume_is_invisible entering_on_top entering_needs_a_frame storm;
    threads: many_at_once one_enclave_each;
}
