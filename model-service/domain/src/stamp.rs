//! Who may write: partitions, epochs of their ownership, and the stamps of writes.

/// Unit of ownership: a domain belongs to one for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// Number of one ownership of a partition; rises with every take-over, never restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Write time of a row: `epoch · 2^28 + seq`. Never wall clock, never an event's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(i64);

impl Stamp {
    /// Bits of the sequence number.
    pub const SEQ_BITS: u32 = 28;
    /// Sequence numbers an epoch has.
    pub const SEQS: u32 = 1 << Self::SEQ_BITS;

    /// The stamp of one write of an ownership. `None` when `seq` or the epoch is past its range.
    pub fn new(epoch: Epoch, seq: u32) -> Option<Self> {
        let epoch = i64::try_from(epoch.0)
            .ok()
            .filter(|e| *e < 1 << (62 - Self::SEQ_BITS))?;
        (seq < Self::SEQS).then_some(Self(epoch << Self::SEQ_BITS | i64::from(seq)))
    }

    /// The stamp as the database keeps it (microseconds, to it).
    pub fn as_i64(self) -> i64 {
        self.0
    }

    /// The ownership the write was of.
    pub fn epoch(self) -> Epoch {
        Epoch(u64::try_from(self.0 >> Self::SEQ_BITS).unwrap_or(0))
    }

    /// A stamp read back.
    pub fn stored(stamp: i64) -> Self {
        Self(stamp)
    }
}
