//! The arithmetic behind the tables: medians, percentiles, same-round ratios, and a small generator for random order.

/// The middle value, or the mean of the two middle ones; none of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median of `ours / theirs` over the rounds in which both were measured.
pub(crate) fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some((*ours)? / (*theirs)?)).collect();
    median(&ratios)
}

/// The value that the share `p` (0 to 1) of an ascending list stays within; none of nothing.
pub(crate) fn percentile(sorted: &[u32], p: f64) -> Option<u32> {
    let rank = (sorted.len() as f64 * p).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Spreads a number over 64 bits (the finalizer of SplitMix64), so that neighbours have nothing in common.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Puts a list into an order that depends on nothing but `seed`.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    for last in (1..items.len()).rev() {
        let other = scramble(seed.wrapping_add(last as u64)) % (last as u64 + 1);
        items.swap(last, other as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        let cases: [(&[f64], Option<f64>); 5] = [
            (&[], None),
            (&[7.0], Some(7.0)),
            (&[3.0, 1.0], Some(2.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[f64::NAN, 1.0], Some(1.0)),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_ratio_compares_only_what_was_measured_in_the_same_round() {
        let ours = [Some(1.0), Some(2.0), None, Some(9.0)];
        let theirs = [Some(2.0), Some(2.0), Some(1.0), None];
        assert_eq!(ratio(&ours, &theirs), Some(0.75));
        assert_eq!(ratio(&ours, &[]), None);
    }

    #[test]
    fn a_slow_round_of_both_leaves_the_ratio_alone() {
        let ours = [Some(10.0), Some(1.0), Some(10.0)];
        let theirs = [Some(20.0), Some(2.0), Some(20.0)];
        assert_eq!(ratio(&ours, &theirs), Some(0.5));
    }

    #[test]
    fn a_percentile_is_the_smallest_value_that_covers_the_share() {
        let values: Vec<u32> = (1..=100).collect();
        let cases = [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)];
        for (p, expected) in cases {
            assert_eq!(percentile(&values, p), Some(expected), "{p}");
        }
        assert_eq!(percentile(&[], 0.99), None);
    }

    #[test]
    fn shuffling_loses_nothing_and_depends_on_the_seed() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            shuffle(&mut items, seed);
            items
        };
        let mut sorted = order(1);
        assert_ne!(sorted, order(2));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}
