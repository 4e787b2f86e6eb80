//! Medians, percentiles and the range they come from.

/// The value in the middle of what was measured, and how far the rest lay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value; `None` of none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: percentile(values, 50)?,
            min: percentile(values, 0)?,
            max: percentile(values, 100)?,
        })
    }
}

/// The nearest-rank percentile: a value that was measured, not one between two.
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&values, 0), Some(1.0));
        assert_eq!(percentile(&values, 50), Some(3.0));
        assert_eq!(percentile(&values, 99), Some(5.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_spread_has_its_ends() {
        let spread = Spread::of(&[2.0, 9.0, 4.0]).expect("three values");
        assert!((spread.median - 4.0).abs() < f64::EPSILON);
        assert!((spread.min - 2.0).abs() < f64::EPSILON && (spread.max - 9.0).abs() < f64::EPSILON);
    }
}
