//! Removes the copies of the pool's metadata that `lvconvert --repair` left over, once a repair has brought the system up.
//!
//! The initramfs counts these copies to see how many repairs in a row did not help, and gives up at the third. A copy that
//! stayed would count against the next damage, perhaps years later, and takes space from the volume group for good.
//! A cut in here costs nothing: the next boot removes what is left.

use std::io;

/// LVM names what a repair of `pool` replaced `pool_meta0`, `pool_meta1`, …
const COPY: &str = "pool_meta";

/// The volumes of the group. Each call is durable when it returns.
pub trait Volumes {
    /// Names of all that are no part of another.
    fn names(&mut self) -> io::Result<Vec<String>>;
    /// Removes one for good.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// Removes the copies, and returns a sentence for each. Without copies it writes nothing.
pub fn forget_repairs(volumes: &mut dyn Volumes) -> io::Result<Vec<String>> {
    let mut done = Vec::new();
    for name in volumes.names()?.iter().filter(|name| is_copy(name)) {
        volumes.remove(name)?;
        done.push(format!(
            "the system is up after a repair of the pool: {name}, which the repair left over, was removed"
        ));
    }
    Ok(done)
}

fn is_copy(name: &str) -> bool {
    let number = name.strip_prefix(COPY).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [&str; 8] = [
        "pool",
        "root",
        "data",
        "pool_meta",
        "pool_metadata1",
        "pool_meta0_kept",
        "my_pool_meta0",
        "root_meta0",
    ];

    /// Volumes in memory. The `power`-th removal is cut and changes nothing.
    struct FakeVolumes {
        names: Vec<String>,
        removals: usize,
        power: Option<usize>,
    }

    impl FakeVolumes {
        fn with_copies(count: usize) -> Self {
            let copies = (0..count).map(|number| format!("pool_meta{number}"));
            Self {
                names: OTHERS.iter().copied().map(str::to_owned).chain(copies).collect(),
                removals: 0,
                power: None,
            }
        }
    }

    impl Volumes for FakeVolumes {
        fn names(&mut self) -> io::Result<Vec<String>> {
            Ok(self.names.clone())
        }

        fn remove(&mut self, name: &str) -> io::Result<()> {
            if self.power == Some(self.removals) {
                return Err(io::Error::other("power cut"));
            }
            self.removals += 1;
            self.names.retain(|kept| kept != name);
            Ok(())
        }
    }

    #[test]
    fn every_copy_is_removed_and_nothing_else() {
        for count in [1, 3, 12] {
            let mut volumes = FakeVolumes::with_copies(count);
            let said = forget_repairs(&mut volumes).expect("removals");
            assert_eq!((said.len(), volumes.removals), (count, count));
            assert_eq!(volumes.names, OTHERS);
        }
    }

    #[test]
    fn device_without_copies_writes_nothing_and_says_nothing() {
        let mut volumes = FakeVolumes::with_copies(0);
        let said = forget_repairs(&mut volumes).expect("nothing to do");
        assert_eq!((said, volumes.removals), (Vec::new(), 0));
    }

    #[test]
    fn power_cut_at_each_removal_is_made_up_for_at_the_next_boot() {
        for cut in 0..3 {
            let mut volumes = FakeVolumes::with_copies(3);
            volumes.power = Some(cut);
            forget_repairs(&mut volumes).expect_err("the cut");
            volumes.power = None;
            forget_repairs(&mut volumes).expect("the rest");
            assert_eq!(volumes.names, OTHERS);
        }
    }
}
