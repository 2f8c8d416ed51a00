//! What an upstream's `retries` say.

/// When an attempt is made again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPlan {
    /// Including the first; 1 never retries.
    pub attempts_max: u32,
    pub on: Causes,
    /// The longest first wait; the longest wait doubles from then on.
    pub backoff_base_ms: u64,
    pub backoff_max_ms: u64,
    /// A request with an idempotency key may be sent again whatever its method: the upstream sees to it that it happens
    /// once.
    pub honours_key: bool,
}

/// Which failures are worth another attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    pub connect: bool,
    pub reset: bool,
    pub bad_gateway: bool,
    pub unavailable: bool,
    pub gateway_timeout: bool,
}

impl Causes {
    /// The configuration's words, which are the values of the metric's label, too.
    pub const WORDS: [&str; 5] = ["connect", "reset", "502", "503", "504"];

    pub const ALL: Self =
        Self { connect: true, reset: true, bad_gateway: true, unavailable: true, gateway_timeout: true };

    /// Adds what `word` stands for; false if it is none of [`Causes::WORDS`].
    pub fn insert(&mut self, word: &str) -> bool {
        match self.slot(word) {
            Some(listed) => *listed = true,
            None => return false,
        }
        true
    }

    pub fn has(mut self, word: &str) -> bool {
        self.slot(word).is_some_and(|listed| *listed)
    }

    fn slot(&mut self, word: &str) -> Option<&mut bool> {
        Some(match word {
            "connect" => &mut self.connect,
            "reset" => &mut self.reset,
            "502" => &mut self.bad_gateway,
            "503" => &mut self.unavailable,
            "504" => &mut self.gateway_timeout,
            _ => return None,
        })
    }
}

/// How many further attempts an upstream gets in all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPlan {
    /// Further attempts for each request.
    pub ratio: f64,
    /// Further attempts a second on top, whatever the traffic.
    pub floor_per_s: f64,
}
