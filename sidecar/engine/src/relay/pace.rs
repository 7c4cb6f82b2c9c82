//! Decides for one direction whether the next bytes are copied or spliced, and how many at a time.
//! Pure: `direction` tells it what each read and write came to. Splicing pays for bulk and costs more for messages.

/// Reads of this many bytes or more are bulk.
const LARGE: usize = 32 << 10;
/// Large reads in a row that turn splicing on.
const LARGE_READS: u8 = 2;
/// Small splices in a row that turn it off again.
const SMALL_SPLICES: u8 = 4;
/// The most and the least that is spliced at a time, in bytes.
const MOST: u32 = 1 << 20;
const LEAST: u32 = 64 << 10;

/// The pace of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The most the sink is trusted to take at once: what it cannot take must be copied out of the pipe.
    limit: u32,
    streak: u8,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Messages,
    Bulk,
    /// These sockets cannot be spliced.
    CopyOnly,
}

impl Default for Pace {
    fn default() -> Self {
        Self { limit: MOST, streak: 0, mode: Mode::Messages }
    }
}

impl Pace {
    pub(super) fn is_bulk(&self) -> bool {
        self.mode == Mode::Bulk
    }

    /// The most to splice next, in bytes.
    pub(super) fn splice_limit(&self) -> usize {
        self.limit as usize
    }

    /// `count` bytes were read for copying.
    pub(super) fn copied(&mut self, count: usize) {
        if self.mode == Mode::Messages {
            self.count(count >= LARGE, LARGE_READS, Mode::Bulk);
        }
    }

    /// `count` bytes were spliced in, and the sink took `poured` of them.
    pub(super) fn spliced(&mut self, count: usize, poured: usize) {
        if poured == count {
            self.limit = (self.limit * 2).min(MOST);
        } else {
            // The clamp keeps it within u32.
            self.limit = u32::try_from(poured).unwrap_or(MOST).clamp(LEAST, MOST);
        }
        if self.mode == Mode::Bulk {
            self.count(count < LARGE, SMALL_SPLICES, Mode::Messages);
        }
    }

    /// The kernel does not splice between these sockets.
    pub(super) fn never_splice(&mut self) {
        self.mode = Mode::CopyOnly;
    }

    fn count(&mut self, counts: bool, enough: u8, next: Mode) {
        self.streak = if counts { self.streak + 1 } else { 0 };
        if self.streak == enough {
            self.streak = 0;
            self.mode = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_large_reads_in_a_row_turn_splicing_on() {
        for (reads, bulk) in [
            (&[][..], false),
            (&[LARGE], false),
            (&[LARGE, LARGE - 1, LARGE], false),
            (&[LARGE, LARGE], true),
            (&[1, LARGE, LARGE + 1], true),
        ] {
            let mut pace = Pace::default();
            reads.iter().for_each(|&count| pace.copied(count));
            assert_eq!(pace.is_bulk(), bulk, "{reads:?}");
        }
    }

    #[test]
    fn four_small_splices_in_a_row_turn_it_off() {
        for (splices, bulk) in [(&[1, 1, 1][..], true), (&[1, 1, 1, LARGE, 1, 1, 1], true), (&[1, 1, 1, 1], false)] {
            let mut pace = bulk_pace();
            splices.iter().for_each(|&count| pace.spliced(count, count));
            assert_eq!(pace.is_bulk(), bulk, "{splices:?}");
        }
    }

    #[test]
    fn the_limit_follows_what_the_sink_takes() {
        let mut pace = bulk_pace();
        pace.spliced(1 << 20, 300 << 10);
        assert_eq!(pace.splice_limit(), 300 << 10);
        pace.spliced(300 << 10, 300 << 10);
        assert_eq!(pace.splice_limit(), 600 << 10);
        pace.spliced(600 << 10, 600 << 10);
        assert_eq!(pace.splice_limit(), 1 << 20);
        pace.spliced(1 << 20, 0);
        assert_eq!(pace.splice_limit(), LEAST as usize);
    }

    #[test]
    fn what_cannot_be_spliced_is_copied_for_good() {
        let mut pace = bulk_pace();
        pace.never_splice();
        pace.spliced(LARGE, 0);
        pace.copied(LARGE);
        pace.copied(LARGE);
        assert!(!pace.is_bulk());
    }

    fn bulk_pace() -> Pace {
        let mut pace = Pace::default();
        pace.copied(LARGE);
        pace.copied(LARGE);
        assert!(pace.is_bulk());
        pace
    }
}
