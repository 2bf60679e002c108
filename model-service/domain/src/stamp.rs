//! Write ownership: partitions, the epochs of their ownership, and the stamps of writes.

/// The unit of ownership. A domain belongs to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// The number of an ownership of a partition; rises with every take-over and never restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The write time of a row: `epoch · 2^28 + seq`. Never a wall clock, never an event's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(i64);

impl Stamp {
    /// Bits of the sequence number.
    pub const SEQ_BITS: u32 = 28;
    /// Number of sequence numbers per epoch.
    pub const SEQS: u32 = 1 << Self::SEQ_BITS;

    /// The stamp of a write; `None` if `seq` or the epoch is out of range.
    pub fn new(epoch: Epoch, seq: u32) -> Option<Self> {
        let epoch = i64::try_from(epoch.0)
            .ok()
            .filter(|e| *e < 1 << (62 - Self::SEQ_BITS))?;
        (seq < Self::SEQS).then_some(Self(epoch << Self::SEQ_BITS | i64::from(seq)))
    }

    /// The stamp as the database stores it, which treats it as microseconds.
    pub fn as_i64(self) -> i64 {
        self.0
    }

    /// The epoch of the write.
    pub fn epoch(self) -> Epoch {
        Epoch(u64::try_from(self.0 >> Self::SEQ_BITS).unwrap_or(0))
    }

    /// A stamp read back from the store.
    pub fn stored(stamp: i64) -> Self {
        Self(stamp)
    }
}
