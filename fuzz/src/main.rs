//! libFuzzer on the target that `FLEET_FUZZ_TARGET` names. Built without it, this program says how it is built.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod fuzzer {
    #![allow(unsafe_code, missing_docs, reason = "libFuzzer calls into us through C")]

    use std::sync::OnceLock;

    use fleet_fuzz::{TARGETS, Target};

    static TARGET: OnceLock<&Target> = OnceLock::new();

    fn chosen() -> &'static Target {
        let name = std::env::var("FLEET_FUZZ_TARGET").unwrap_or_default();
        TARGETS
            .iter()
            .find(|target| target.name == name)
            .unwrap_or_else(|| panic!("FLEET_FUZZ_TARGET={name:?} is no target"))
    }

    libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.get_or_init(chosen).run)(bytes));
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    eprintln!("run `cargo xtask fuzz`: it builds this program with libFuzzer in it");
    std::process::ExitCode::FAILURE
}
