//! How large the volumes of a volume group should be. Pure.
//!
//! A tenth of the volume group stays free: room to repair or extend a full pool. Root gets a quarter of the pool, from
//! 2 to 8 GiB. Data gets the pool less twice root: even a full data volume leaves room for root and a snapshot of it
//! that shares nothing. Nothing ever shrinks: of an image that gives data more already, root grows into what is left.
//! In a pool of less than 4.5 GiB there is room for root and data, but not for that snapshot.

const GIB: u64 = 1 << 30;
const RESERVE_DIVISOR: u64 = 10;
/// A block of 64 KiB costs about 48 bytes of metadata; a thousandth of the pool holds that with room for snapshots.
const METADATA_DIVISOR: u64 = 1000;
const METADATA_MAX: u64 = 15 * GIB;
const ROOT_DIVISOR: u64 = 4;
const ROOT_RANGE: (u64, u64) = (2 * GIB, 8 * GIB);

/// Sizes in bytes, multiples of the extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The pool's metadata; its spare is as large.
    pub metadata: u64,
    /// The pool.
    pub pool: u64,
    /// Virtual size of root.
    pub root: u64,
    /// Virtual size of data.
    pub data: u64,
}

impl Sizes {
    /// What volumes should have in a group of `total` bytes; never less than `now`.
    #[must_use]
    pub fn wanted(total: u64, extent: u64, now: Self) -> Self {
        let down = |size: u64| size / extent * extent;
        let metadata = (total / METADATA_DIVISOR)
            .min(METADATA_MAX)
            .next_multiple_of(extent)
            .max(now.metadata);
        let reserve = (total / RESERVE_DIVISOR).next_multiple_of(extent);
        let pool = down(total.saturating_sub(2 * metadata + reserve)).max(now.pool);
        let beside_data = pool.saturating_sub(now.data) / 2;
        let quarter = (pool / ROOT_DIVISOR).clamp(ROOT_RANGE.0, ROOT_RANGE.1);
        let root = down(quarter.min(beside_data)).max(now.root);
        let data = down(pool.saturating_sub(2 * root)).max(now.data);
        Self {
            metadata,
            pool,
            root,
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: u64 = 4 << 20;
    const NOW: Sizes = Sizes {
        metadata: 32 << 20,
        pool: 3 * GIB,
        root: 2 * GIB,
        data: 512 << 20,
    };

    #[test]
    fn a_tenth_stays_free_and_a_diverged_snapshot_of_root_fits() {
        for gib in [8, 16, 32, 64, 512, 4096] {
            let total = gib * GIB;
            let sizes = Sizes::wanted(total, EXTENT, NOW);
            assert!(
                total - sizes.pool - 2 * sizes.metadata >= total / 10,
                "{gib} GiB: {sizes:?}"
            );
            assert!(2 * sizes.root + sizes.data <= sizes.pool, "{gib} GiB: {sizes:?}");
        }
    }

    /// What `fleet-image` makes of a disk whose pool has `pool` bytes.
    fn image(pool: u64) -> Sizes {
        Sizes {
            pool,
            data: pool.saturating_sub(2 * NOW.root).max(NOW.data),
            ..NOW
        }
    }

    #[test]
    fn pool_is_never_promised_twice_whatever_the_image_and_the_disk() {
        for pool in [2816 << 20, 3000 << 20, 5 * GIB, 9 * GIB, 17 * GIB, 100 * GIB] {
            for disk in [8, 9, 10, 12, 20, 80, 1000] {
                let total = (pool / 8 * disk).next_multiple_of(EXTENT);
                let sizes = Sizes::wanted(total, EXTENT, image(pool));
                assert!(
                    sizes.root + sizes.data <= sizes.pool,
                    "{pool}, {total}: {sizes:?}"
                );
                let snapshot_fits = 2 * sizes.root + sizes.data <= sizes.pool;
                assert!(
                    snapshot_fits || sizes.pool < 9 * GIB / 2,
                    "{pool}, {total}: {sizes:?}"
                );
                assert_eq!(Sizes::wanted(total, EXTENT, sizes), sizes);
            }
        }
    }

    #[test]
    fn nothing_shrinks_and_everything_is_whole_extents() {
        for total in [0, GIB, 4 * GIB, 7 * GIB + 12345, 100 * GIB + 1] {
            let sizes = Sizes::wanted(total, EXTENT, NOW);
            assert!(
                sizes.metadata >= NOW.metadata && sizes.pool >= NOW.pool,
                "{sizes:?}"
            );
            assert!(sizes.root >= NOW.root && sizes.data >= NOW.data, "{sizes:?}");
            for size in [sizes.metadata, sizes.pool, sizes.root, sizes.data] {
                assert_eq!(size % EXTENT, 0);
            }
        }
    }

    #[test]
    fn what_was_reached_is_wanted_again() {
        let once = Sizes::wanted(64 * GIB, EXTENT, NOW);
        assert_eq!(Sizes::wanted(64 * GIB, EXTENT, once), once);
    }
}
