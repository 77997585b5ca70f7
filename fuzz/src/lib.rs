//! What reads bytes that somebody else wrote, given bytes that nobody wrote. A target is a function that takes any bytes and panics
//! when a promise is broken: never that a reader refuses, always that it neither dies nor takes what it could not write again.
//!
//! - [`targets`]: the functions, by name
//! - `fleet-fuzz` (`main.rs`): libFuzzer on one of them, when it is built by `cargo xtask fuzz`
//!
//! The tests here run every seed in `seeds/<target>/`, the fuzzer's findings among them, in the unit tier: a finding becomes a
//! regression test by being put there.

pub mod targets;

pub use targets::{TARGETS, Target};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_seed_of_every_target_keeps_the_promises() {
        for target in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("seeds")
                .join(target.name);
            let mut seeds = 0;
            for entry in folder
                .read_dir()
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            {
                let path = entry.expect("it can be listed").path();
                eprintln!("{}", path.display());
                (target.run)(&std::fs::read(&path).expect("it can be read"));
                seeds += 1;
            }
            assert!(seeds > 0, "{} has no seed", target.name);
        }
    }

    #[test]
    fn every_folder_of_seeds_has_its_target() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        for entry in seeds.read_dir().expect("it is there") {
            let name = entry.expect("it can be listed").file_name();
            assert!(
                TARGETS.iter().any(|target| target.name == name),
                "{}",
                name.display()
            );
        }
    }
}
