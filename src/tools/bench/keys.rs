//! Which key comes next: each alike, or few often and many seldom.
//!
//! Caches live on skew, so the second shape is Zipf's law: the key of rank k is asked for in proportion to 1 / k^theta. It is drawn by
//! rejection inversion (W. Hörmann, G. Derflinger: "Rejection-inversion to generate variates from monotone discrete distributions",
//! ACM TOMACS 6(3), 1996): constant time and no tables, however many keys there are. The law's integral is inverted like that of a
//! continuous law, and the little that lies between the curve and its steps is rejected; a draw seldom takes a second try.
//!
//! Rank and key number are the same: key 0 is the hottest. Servers hash keys, so neighbours by number are no neighbours there.

use crate::prng::Prng;

/// How often each key is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Each alike.
    Uniform,
    /// Zipf's law with this exponent, above zero.
    Zipf(f64),
}

/// Draws key numbers from `0 .. keys`.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Each of so many keys alike.
    Uniform(u64),
    /// By Zipf's law.
    Zipf(Zipf),
}

impl Keys {
    /// Draws from `keys` keys (at least one) in the given shape.
    pub fn new(keys: u64, shape: Shape) -> Keys {
        match shape {
            Shape::Uniform => Keys::Uniform(keys),
            Shape::Zipf(theta) => Keys::Zipf(Zipf::new(keys, theta)),
        }
    }

    /// The next key's number.
    pub fn draw(&self, prng: &mut Prng) -> u64 {
        match self {
            Keys::Uniform(keys) => prng.below(*keys),
            Keys::Zipf(zipf) => zipf.draw(prng) - 1,
        }
    }
}

/// Zipf's law over the ranks 1 to `ranks`. The names are the paper's: h is the law, H its integral.
#[derive(Clone, Debug)]
pub struct Zipf {
    ranks: u64,
    theta: f64,
    /// H(1.5) - h(1): the first rank's column reaches to the left of the curve's begin.
    integral_begin: f64,
    /// H(ranks + 0.5).
    integral_end: f64,
    /// Up to this distance below a rank no draw has to be rejected.
    sure: f64,
}

impl Zipf {
    fn new(ranks: u64, theta: f64) -> Zipf {
        let mut zipf = Zipf { ranks, theta, integral_begin: 0.0, integral_end: 0.0, sure: 0.0 };
        zipf.integral_begin = zipf.integral(1.5) - 1.0;
        zipf.integral_end = zipf.integral(ranks as f64 + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.law(2.0));
        zipf
    }

    fn draw(&self, prng: &mut Prng) -> u64 {
        loop {
            let u = self.integral_end + prng.unit() * (self.integral_begin - self.integral_end);
            let x = self.inverse(u);
            let rank = (x.round() as u64).clamp(1, self.ranks);
            let k = rank as f64;
            if k - x <= self.sure || u >= self.integral(k + 0.5) - self.law(k) {
                return rank;
            }
        }
    }

    fn law(&self, x: f64) -> f64 {
        x.powf(-self.theta)
    }

    /// (x^(1-theta) - 1) / (1-theta), which becomes ln(x) where theta is 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        log * exp_m1_over((1.0 - self.theta) * log)
    }

    fn inverse(&self, y: f64) -> f64 {
        // Rounding may push the product just past -1, where the logarithm ends.
        let t = (y * (1.0 - self.theta)).max(-1.0);
        (y * ln_1p_over(t)).exp()
    }
}

/// (e^t - 1) / t, and its limit at zero.
fn exp_m1_over(t: f64) -> f64 {
    if t.abs() > 1e-8 { t.exp_m1() / t } else { 1.0 + t / 2.0 }
}

/// ln(1 + t) / t, and its limit at zero.
fn ln_1p_over(t: f64) -> f64 {
    if t.abs() > 1e-8 { t.ln_1p() / t } else { 1.0 - t / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(keys: usize, shape: Shape, draws: u32) -> Vec<f64> {
        let (source, mut prng, mut seen) = (Keys::new(keys as u64, shape), Prng::new(42), vec![0u32; keys]);
        (0..draws).for_each(|_| seen[source.draw(&mut prng) as usize] += 1);
        seen.into_iter().map(|n| f64::from(n) / f64::from(draws)).collect()
    }

    #[test]
    fn zipf_frequencies_are_those_of_the_law_below_at_and_above_one() {
        const DRAWS: u32 = 400_000;
        for theta in [0.2, 0.99, 1.0, 1.3, 2.5] {
            let sum: f64 = (1..=100).map(|k| f64::from(k).powf(-theta)).sum();
            for (number, seen) in frequencies(100, Shape::Zipf(theta), DRAWS).into_iter().enumerate() {
                let expected = (number as f64 + 1.0).powf(-theta) / sum;
                let deviation = (expected * (1.0 - expected) / f64::from(DRAWS)).sqrt();
                assert!((seen - expected).abs() < 5.0 * deviation, "theta {theta}, key {number}: {seen}, not {expected}");
            }
        }
    }

    #[test]
    fn uniform_frequencies_are_alike() {
        for seen in frequencies(50, Shape::Uniform, 200_000) {
            assert!((seen - 0.02).abs() < 0.002, "{seen}");
        }
    }

    #[test]
    fn every_draw_is_a_key_even_where_there_is_one_or_a_great_many() {
        let mut prng = Prng::new(1);
        for keys in [1, 2, 3, 1_000_000_000_000] {
            for shape in [Shape::Uniform, Shape::Zipf(0.001), Shape::Zipf(1.0), Shape::Zipf(9.0)] {
                let source = Keys::new(keys, shape);
                assert!((0..1_000).all(|_| source.draw(&mut prng) < keys), "{keys} {shape:?}");
            }
        }
    }
}
